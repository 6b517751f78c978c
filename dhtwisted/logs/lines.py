"""An event of ``twisted.logger`` as one line, with any objects in it: text for people, JSON for programs."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from math import isfinite
from typing import Any, Protocol

from twisted.logger import LogLevel, formatEvent

from dhtwisted.logs.masking import MASK, encodable, escaped, is_secret_name, mask

CLIENT = "client"
"""The client id of MQTT. It can have any characters, so a line of text has it in quotes."""

IDENTITY = ("connection", "address", "user", CLIENT, "action", "request")
"""Fields that say who the event is about. A line of text begins with them."""

LEVELS = {"debug": 0, "info": 1, "warn": 2, "error": 3, "critical": 4}
_LEVEL = type(LogLevel.info)
Event = dict[str, Any]
LONGEST_FIELD = 1024
_LEGACY = frozenset({"message", "time", "system", "format", "isError", "failure", "why"})
"""Fields that ``twisted.python.log`` adds to its events. Other fields say the same."""

_OWN = frozenset({"time", "level", "logger", "message", "traceback"})
_INTEGERS = range(-(2**63), 2**63)


class Lines(Protocol):
    """The form of lines."""

    def line(self, event: Event) -> str:
        """Write an event, without an end of line."""


class TextLines:
    """``2026-01-02T03:04:05.678Z warn  server [connection=12 user=3] what happened | Traceback ...``."""

    def line(self, event: Event) -> str:
        """Write an event, without an end of line."""
        level = level_of(event)
        fields = ((name, _identity(name, event[name])) for name in IDENTITY if event.get(name) is not None)
        whose = " ".join(f"{name}={text}" for name, text in fields if text)
        trace = _traceback(event)
        parts = [moment(event), f"{level:<5}", _short_name(event), f"[{whose}]" if whose else "", message(event), trace and f"| {trace}"]
        return " ".join(escaped(part) for part in parts if part)


class JsonLines:
    """An object with ``time``, ``level``, ``logger``, ``message``, ``traceback`` if there is one, and the event's own fields."""

    def line(self, event: Event) -> str:
        """Write an event, without an end of line."""
        members = {"time": moment(event), "level": level_of(event), "logger": _namespace(event), "message": message(event)}
        trace = _traceback(event)
        if trace:
            members["traceback"] = trace
        for name, value in event.items():
            name = encodable(_text(name))
            if not name.startswith("log_") and name not in _LEGACY:
                # A field of a library must not look like one of these.
                members[f"{name}_" if name in _OWN else name] = MASK if is_secret_name(name) else _value(value)
        return json.dumps({name: encodable(value) if isinstance(value, str) else value for name, value in members.items()})


def level_of(event: Event) -> str:
    """The name of the level: ``info`` if there is none, and ``debug`` for what Twisted logs about itself at ``info``, such as each factory
    that starts.
    """
    level = event.get("log_level")
    name = level.name if isinstance(level, _LEVEL) and level.name in LEVELS else "info"
    namespace = event.get("log_namespace")
    is_of_twisted = isinstance(namespace, str) and (namespace == "log_legacy" or namespace.startswith("twisted."))
    return "debug" if is_of_twisted and name == "info" else name


def moment(event: Event) -> str:
    """The time of an event in UTC; the present time if it has none."""
    try:
        when = datetime.fromtimestamp(event["log_time"], UTC)
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        when = datetime.fromtimestamp(time.time(), UTC)
    return when.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def message(event: Event) -> str:
    """The text of an event."""
    try:
        text = formatEvent(event)
    except Exception:
        # It is documented not to raise. But the objects of an event may do anything, and the line must be written.
        text = "(the message cannot be written)"
    if not text and "log_failure" in event:
        text = "a failure without a message"
    return mask(text).strip()


def _traceback(event: Event) -> str:
    failure = event.get("log_failure")
    if failure is None:
        return ""
    try:
        return mask(failure.getTraceback()).strip()
    except Exception:
        # The object is no failure, or its exception cannot be written.
        return "(the traceback cannot be written)"


def _namespace(event: Event) -> str:
    namespace = event.get("log_namespace")
    return (_text(namespace) if namespace is not None else "") or "-"


def _short_name(event: Event) -> str:
    """The name of the module, without the class and without ``dhtwisted``."""
    module, _, name = _namespace(event).rpartition(".")
    return f"{module}.{name}".strip(".").removeprefix("dhtwisted.") if not name[:1].isupper() else module.removeprefix("dhtwisted.") or name


def _value(value: Any) -> Any:
    """A value as JSON; text if JSON has no such type."""
    plain = type(value)
    if value is None or plain is bool or (plain is int and value in _INTEGERS):
        return value
    if plain is float and isfinite(value):
        return value
    return _text(value)


def _identity(name: str, value: Any) -> str:
    return json.dumps(_text(value), ensure_ascii=False) if name == CLIENT else _text(value)


def _text(value: Any) -> str:
    """A field as text of limited length. Anything can happen in a ``__str__``."""
    try:
        # Masked first: a secret that is cut is not recognized.
        return mask(f"{value}")[:LONGEST_FIELD]
    except Exception:
        return f"(a {type(value).__name__} that cannot be written)"

"""An event of ``twisted.logger`` as one line, whatever objects it holds: text for people, JSON for programs."""

import json
import time
from datetime import UTC, datetime
from math import isfinite

from twisted.logger import LogLevel, formatEvent

from dhtwisted.logs.masking import MASK, encodable, escaped, is_secret_name, mask

IDENTITY = ("connection", "address", "user", "action", "request")
"""Fields that say whose event it is; a line of text has them in front."""

LEVELS = {"debug": 0, "info": 1, "warn": 2, "error": 3, "critical": 4}
_LEVEL = type(LogLevel.info)
LONGEST_FIELD = 1024
_LEGACY = frozenset({"message", "time", "system", "format", "isError", "failure", "why"})
"""What ``twisted.python.log`` adds to events of its own, which says nothing that the others do not."""

_OWN = frozenset({"time", "level", "logger", "message", "traceback"})
_INTEGERS = range(-(2**63), 2**63)


class TextLines:
    """``2026-01-02T03:04:05.678Z warn  server [connection=12 user=3] what happened | Traceback ...``."""

    def line(self, event):
        """Write an event, without an end of line."""
        level = level_of(event)
        fields = ((name, _text(event[name])) for name in IDENTITY if event.get(name) is not None)
        whose = " ".join(f"{name}={text}" for name, text in fields if text)
        trace = _traceback(event)
        parts = [moment(event), f"{level:<5}", _short_name(event), f"[{whose}]" if whose else "", message(event), trace and f"| {trace}"]
        return " ".join(escaped(part) for part in parts if part)


class JsonLines:
    """An object with ``time``, ``level``, ``logger``, ``message``, ``traceback`` if there is one, and the event's own fields."""

    def line(self, event):
        """Write an event, without an end of line."""
        members = {"time": moment(event), "level": level_of(event), "logger": _namespace(event), "message": message(event)}
        trace = _traceback(event)
        if trace:
            members["traceback"] = trace
        for name, value in event.items():
            name = encodable(_text(name))
            if not name.startswith("log_") and name not in _LEGACY:
                # Somebody else's field must not pass for one of ours.
                members[f"{name}_" if name in _OWN else name] = MASK if is_secret_name(name) else _value(value)
        return json.dumps({name: encodable(value) if isinstance(value, str) else value for name, value in members.items()})


def level_of(event):
    """Name the level; ``info`` for one that is none, and ``debug`` for what Twisted tells of itself at ``info``, such as each factory that
    starts.
    """
    level = event.get("log_level")
    name = level.name if isinstance(level, _LEVEL) and level.name in LEVELS else "info"
    namespace = event.get("log_namespace")
    is_of_twisted = isinstance(namespace, str) and (namespace == "log_legacy" or namespace.startswith("twisted."))
    return "debug" if is_of_twisted and name == "info" else name


def moment(event):
    """Write the time of an event in UTC; now, where it has none."""
    try:
        when = datetime.fromtimestamp(event["log_time"], UTC)
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        when = datetime.fromtimestamp(time.time(), UTC)
    return when.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def message(event):
    """Write what happened."""
    try:
        text = formatEvent(event)
    except Exception:
        # It is said not to raise. But the objects of an event may do anything, and the line must come.
        text = "(the message cannot be written)"
    if not text and "log_failure" in event:
        text = "a failure without a message"
    return mask(text).strip()


def _traceback(event):
    failure = event.get("log_failure")
    if failure is None:
        return ""
    try:
        return mask(failure.getTraceback()).strip()
    except Exception:
        # Of an object that is no failure, or of one whose exception cannot be written.
        return "(the traceback cannot be written)"


def _namespace(event):
    namespace = event.get("log_namespace")
    return (_text(namespace) if namespace is not None else "") or "-"


def _short_name(event):
    """The name of the module: without that of the class, and of our package."""
    module, _, name = _namespace(event).rpartition(".")
    return f"{module}.{name}".strip(".").removeprefix("dhtwisted.") if not name[:1].isupper() else module.removeprefix("dhtwisted.") or name


def _value(value):
    """What JSON has for a value; text for what it does not have."""
    plain = type(value)
    if value is None or plain is bool or (plain is int and value in _INTEGERS):
        return value
    if plain is float and isfinite(value):
        return value
    return _text(value)


def _text(value):
    """A field as a text of bounded length. Anything may happen in a ``__str__``."""
    try:
        # Masked first: of a secret that is cut off nobody knows that it is one.
        return mask(f"{value}")[:LONGEST_FIELD]
    except Exception:
        return f"(a {type(value).__name__} that cannot be written)"

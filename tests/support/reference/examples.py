"""Example messages for the reference, from the transcripts."""

import json
import re
from collections import defaultdict, deque
from collections.abc import Iterator
from typing import Any

from tests.support.transcript import Transcript, transcripts

TITLES = {"success": "A success", "error": "An error", "event": "An event"}
OPEN = "..."
SHOWN = {"timestamp": "2026-01-02T03:04:05.678"}
FIRST_ID = 101
_PLACE = re.compile(r"\$(\w*)(?::(\w+))?")


def examples(action: str) -> list[tuple[str, str]]:
    """The first success and the first error of an action, and the first event of its name.

    A success with an empty list in its reply is used only if there is no other.

    :param action: its name.
    :returns: a title and the lines, as in a transcript, of each example.
    """
    transcript = next((transcript for transcript in transcripts() if transcript.name == action.replace("/", "-")), None)
    found: dict[str, tuple[Any, dict[str, Any]]] = {}
    for request, reply in _exchanges(transcript) if transcript is not None else ():
        kind = reply.get("status", "event")
        if reply.get("action") == action and (kind not in found or (_is_empty(found[kind][1]) and not _is_empty(reply))):
            found[kind] = request, reply
    return [(title, _written(*found[kind])) for kind, title in TITLES.items() if kind in found]


def _is_empty(reply: dict[str, Any]) -> bool:
    return [] in reply.values()


def _exchanges(transcript: Transcript) -> Iterator[tuple[Any, dict[str, Any]]]:
    """Pairs of a request and its reply, and of ``None`` and an event, with values for the variables of the transcript."""
    waiting: dict[str, deque[Any]] = defaultdict(deque)
    filler = _Filler()
    for _, client, sent, transport, text in transcript.steps:
        if transport == "rest":
            continue
        message = filler.fill(_message(text))
        if sent:
            waiting[client].append(message)
        elif "status" in message:
            yield waiting[client].popleft(), message
        else:
            yield None, message


def _message(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _written(request: Any, reply: dict[str, Any]) -> str:
    lines = [] if request is None else ["> " + json.dumps(request, ensure_ascii=False)]
    return "\n".join([*lines, "< " + json.dumps(reply, ensure_ascii=False)])


class _Filler:
    """Gives a value to each variable of a transcript: each id is another number, all timestamps are the same, others get an ellipsis."""

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}
        self._id = FIRST_ID

    def fill(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: self.fill(member) for name, member in value.items()}
        if isinstance(value, list):
            return [self.fill(element) for element in value]
        match = _PLACE.fullmatch(value) if isinstance(value, str) else None
        return self._value(*match.groups()) if match else value

    def _value(self, name: str, kind: str | None) -> Any:
        if name in self._values:
            return self._values[name]
        value: Any = OPEN if kind is None else SHOWN.get(kind, OPEN)
        if kind == "id":
            value, self._id = self._id, self._id + 1
        if name:
            self._values[name] = value
        return value

"""Example messages for the reference, out of the transcripts."""

import json
import re
from collections import defaultdict, deque

from tests.support.transcript import transcripts

TITLES = {"success": "A success", "error": "An error", "event": "An event"}
OPEN = "..."
SHOWN = {"timestamp": "2026-01-02T03:04:05.678"}
FIRST_ID = 101
_PLACE = re.compile(r"\$(\w*)(?::(\w+))?")


def examples(action):
    """The first success and the first error of an action, and the first event of its name.

    A success whose reply shows an empty list is passed over when there is another.

    :param action: its name.
    :returns: a list of a title and lines as in a transcript.
    """
    transcript = next((transcript for transcript in transcripts() if transcript.name == action.replace("/", "-")), None)
    found = {}
    for request, reply in _exchanges(transcript) if transcript is not None else ():
        kind = reply.get("status", "event")
        if reply.get("action") == action and (kind not in found or (_is_empty(found[kind][1]) and not _is_empty(reply))):
            found[kind] = request, reply
    return [(title, _written(*found[kind])) for kind, title in TITLES.items() if kind in found]


def _is_empty(reply):
    return [] in reply.values()


def _exchanges(transcript):
    """Pairs of a request and its reply, and of ``None`` and an event, with values for what the transcript leaves open."""
    waiting, filler = defaultdict(deque), _Filler()
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


def _message(text):
    try:
        return json.loads(text)
    except ValueError:
        return text


def _written(request, reply):
    lines = [] if request is None else ["> " + json.dumps(request, ensure_ascii=False)]
    return "\n".join([*lines, "< " + json.dumps(reply, ensure_ascii=False)])


class _Filler:
    """Gives a value to each place of a transcript: ids are numbers of their own, timestamps one and the same, all else is left open."""

    def __init__(self):
        self._values = {}
        self._id = FIRST_ID

    def fill(self, value):
        if isinstance(value, dict):
            return {name: self.fill(member) for name, member in value.items()}
        if isinstance(value, list):
            return [self.fill(element) for element in value]
        match = _PLACE.fullmatch(value) if isinstance(value, str) else None
        return self._value(*match.groups()) if match else value

    def _value(self, name, kind):
        if name in self._values:
            return self._values[name]
        value = SHOWN.get(kind, OPEN)
        if kind == "id":
            value, self._id = self._id, self._id + 1
        if name:
            self._values[name] = value
        return value

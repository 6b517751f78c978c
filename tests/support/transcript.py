"""Conversations with the server as text, and a runner that holds any transport to them.

A transcript has a line for each message::

    # a reason, and the section of the WebSocket reference
    phone> {"action": "server/info", "requestId": 1}
    phone< {"action": "server/info", "requestId": 1, "status": "success", "info": "$:any"}

``phone`` is any name; each name is a connection of its own, opened when it is first used. What is sent need
not be JSON. What comes must be exactly the ``<`` lines of that connection, in order, and nothing after the last.

A transport may have no words for a request; then it is left out together with its reply. Where transports differ on purpose, a line is for
one alone: ``phone>websocket {...}``, ``phone<rest {...}``.

The ``detail`` of an error is compared where the transcript has one; transports word it differently.

A string ``"$name"`` stands for a value. In what is sent, it is replaced by the value. In what comes, the first use of a name keeps the
value, later ones must be equal. ``"$name:kind"`` also says what it must be, and ``"$:kind"`` keeps nothing; kinds are in :data:`KINDS`.
"""

import json
import re
from collections import defaultdict, deque
from pathlib import Path

FOLDER = Path(__file__).parent.parent / "transcripts"

_LINE = re.compile(r"(\w*)([<>])(websocket|rest)? ?(.*)")
_PLACE = re.compile(r"\$(\w*)(?::(\w+))?")
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}", re.ASCII)
_END = "the end of the transcript"
_UNTOLD = "a subscription that this transport has no words for"


def _is_id(value):
    return type(value) is int and 0 < value < 2**53


def _is_timestamp(value):
    return isinstance(value, str) and _TIMESTAMP.fullmatch(value) is not None


def _is_text(value):
    return isinstance(value, str) and value != ""


KINDS = {"id": _is_id, "timestamp": _is_timestamp, "text": _is_text, "any": lambda value: True}


class Connection:
    """What a transport gives to the runner.

    :cvar dialect: whose lines it is told: ``websocket`` or ``rest``.
    """

    dialect = "websocket"

    def tells(self, text):
        """Whether this transport has words for a request."""
        return True

    def expected(self, message):
        """The form in which this transport says a message; ``None`` when it does not."""
        return message

    def send(self, text):
        """Send one message."""
        raise NotImplementedError

    async def receive(self, subscription_id=None):
        """Wait for the next message, and fail when none comes for some seconds.

        :param subscription_id: of the event that is expected; for a transport where replies and events do not come in one order.

        :returns: text.
        """
        raise NotImplementedError

    def close(self):
        """Go away."""
        raise NotImplementedError


class Transcript:
    """One file.

    :ivar name: the file's name without its suffix.
    :ivar steps: ``(line number, client, sent, transport, text)``.
    """

    def __init__(self, path):
        self.name = path.stem
        self.steps = []
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            match = _LINE.fullmatch(line)
            assert match, f"{path.name}:{number}: neither comment nor message: {line}"
            client, direction, transport, text = match.groups()
            self.steps.append((number, client, direction == ">", transport, text))

    def outcomes(self):
        """Pairs of an action and ``success``, ``error`` or ``event`` for every message from the server."""
        messages = (json.loads(text) for _, _, sent, transport, text in self.steps if not sent and transport != "rest")
        return {(message.get("action"), message.get("status", "event")) for message in messages}

    async def run(self, connect, variables):
        """Hold a server to the transcript.

        :param connect: ``async () -> Connection``.
        :param variables: name -> value of what the transcript does not learn by itself.
        """
        variables = dict(variables)
        connections = {}
        untold = defaultdict(deque)
        try:
            for number, client, sent, transport, text in self.steps:
                if client not in connections:
                    connections[client] = await connect()
                connection = connections[client]
                if transport not in (None, connection.dialect):
                    continue
                if sent:
                    text = _fill(text, variables)
                    told = connection.tells(text)
                    untold[client].append(not told)
                    if told:
                        connection.send(text)
                else:
                    await self._expect(f"{self.name}:{number}", connection, json.loads(text), untold[client], variables)
            for client, connection in connections.items():
                await self._expect_nothing(client, connection)
        finally:
            for connection in connections.values():
                connection.close()

    async def _expect(self, place, connection, expected, untold, variables):
        place_of_id = _PLACE.fullmatch(str(expected.get("subscriptionId")))
        subscription = place_of_id[1] if place_of_id else None
        is_event = "status" not in expected
        if is_event and variables.get(subscription) == _UNTOLD:
            return
        if not is_event and untold and untold.popleft():
            variables[subscription] = _UNTOLD
            return
        expected = connection.expected(expected)
        if expected is None:
            return
        came = json.loads(await connection.receive(variables[subscription] if is_event and subscription else None))
        if expected.get("status") == "error" and "detail" not in expected:
            came.pop("detail", None)
        difference = _compare(expected, came, variables, "")
        assert difference is None, f"{place}: {difference}\nin {json.dumps(came)}"

    async def _expect_nothing(self, client, connection):
        connection.send(json.dumps({"action": "server/info", "requestId": _END}))
        came = json.loads(await connection.receive())
        assert came.get("requestId") == _END, f"{self.name}: {client} got more than the transcript says: {json.dumps(came)}"


def _fill(text, variables):
    """Put values into what is sent; a text without any goes out exactly as it is."""
    if '"$' not in text:
        return text
    return json.dumps(_replace(json.loads(text), variables), ensure_ascii=False)


def _replace(value, variables):
    if isinstance(value, dict):
        return {name: _replace(member, variables) for name, member in value.items()}
    if isinstance(value, list):
        return [_replace(element, variables) for element in value]
    match = _PLACE.fullmatch(value) if isinstance(value, str) else None
    return variables.get(match[1], value) if match else value


def _compare(expected, came, variables, path):
    """The first difference as a sentence; ``None`` when there is none."""
    if isinstance(expected, str) and (match := _PLACE.fullmatch(expected)):
        return _compare_place(*match.groups(), came, variables, path)
    if isinstance(expected, dict) and isinstance(came, dict):
        if expected.keys() != came.keys():
            return f"{path or 'the message'} has the members {sorted(came)}, not {sorted(expected)}"
        pairs = [(f"{path}.{name}", expected[name], came[name]) for name in expected]
    elif isinstance(expected, list) and isinstance(came, list) and len(expected) == len(came):
        pairs = [(f"{path}[{index}]", *pair) for index, pair in enumerate(zip(expected, came, strict=True))]
    else:
        return None if type(expected) is type(came) and expected == came else f"{path} is {came!r}, not {expected!r}"
    return next((found for place, *pair in pairs if (found := _compare(*pair, variables, place))), None)


def _compare_place(name, kind, came, variables, path):
    if kind is not None and not KINDS[kind](came):
        return f"{path} is {came!r}, which is no {kind}"
    if name and variables.setdefault(name, came) != came:
        return f"{path} is {came!r}, not {variables[name]!r} as ${name} was before"
    return None


def transcripts():
    """All transcripts, by name."""
    return [Transcript(path) for path in sorted(FOLDER.glob("*.transcript"))]

"""Conversations with the server as text, and a runner that checks any transport against them.

A transcript has a line for each message::

    # a reason, and the section of the WebSocket reference
    phone> {"action": "server/info", "requestId": 1}
    phone< {"action": "server/info", "requestId": 1, "status": "success", "info": "$:any"}

``phone`` is any name. Each name is one connection, which is opened when the name is first used. A ``>`` line is sent; it need not be JSON.
The connection must receive exactly its ``<`` lines, in order, and nothing after the last.

A transport may be unable to express a request. Then the request and its reply are left out. Where transports differ on purpose, a line can
be for one of them: ``phone>websocket {...}``, ``phone<rest {...}``.

The ``detail`` of an error is compared only if the transcript has it, since transports word it differently.

A string ``"$name"`` is a variable. In a ``>`` line the value replaces it. In a ``<`` line the first use of a name stores the value, and
later ones must be equal to it. ``"$name:kind"`` also checks the kind of the value; kinds are in :data:`KINDS`. ``"$:kind"`` stores nothing.
"""

import json
import re
from collections import defaultdict, deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "transcripts"

_LINE = re.compile(r"(\w*)([<>])(websocket|rest)? ?(.*)")
_PLACE = re.compile(r"\$(\w*)(?::(\w+))?")
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}", re.ASCII)
_END = "the end of the transcript"
_UNTOLD = "a subscription that this transport cannot express"


def _is_id(value: object) -> bool:
    return type(value) is int and 0 < value < 2**53


def _is_timestamp(value: object) -> bool:
    return isinstance(value, str) and _TIMESTAMP.fullmatch(value) is not None


def _is_text(value: object) -> bool:
    return isinstance(value, str) and value != ""


KINDS: dict[str, Callable[[object], bool]] = {"id": _is_id, "timestamp": _is_timestamp, "text": _is_text, "any": lambda value: True}


class Connection:
    """A connection of a transport, for the runner.

    :cvar dialect: ``websocket`` or ``rest``: it also gets the lines that are for this transport alone.
    """

    dialect = "websocket"

    def tells(self, text: str) -> bool:
        """Whether this transport can express a request."""
        return True

    def expected(self, message: dict[str, Any]) -> dict[str, Any] | None:
        """The message that this transport gives for a message of the transcript; ``None`` for none."""
        return message

    def send(self, text: str) -> None:
        """Send one message."""
        raise NotImplementedError

    async def receive(self, subscription_id: int | None = None) -> str:
        """Wait for the next message. It fails when none comes for some seconds.

        :param subscription_id: the subscription of the expected event, ``None`` for a reply. A transport needs it where the order between
            replies and events is not fixed.
        :returns: the text of the message.
        """
        raise NotImplementedError

    def close(self) -> None:
        """Go away."""
        raise NotImplementedError


class Transcript:
    """One file with a conversation.

    :ivar name: the file's name without its suffix.
    :ivar steps: ``(line number, client, sent, transport, text)``.
    """

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self.steps: list[tuple[int, str, bool, str | None, str]] = []
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            match = _LINE.fullmatch(line)
            assert match, f"{path.name}:{number}: neither comment nor message: {line}"
            client, direction, transport, text = match.groups()
            self.steps.append((number, client, direction == ">", transport, text))

    def outcomes(self) -> set[tuple[str, str]]:
        """Pairs of an action and ``success``, ``error`` or ``event`` for every message from the server."""
        messages = (json.loads(text) for _, _, sent, transport, text in self.steps if not sent and transport != "rest")
        return {(message.get("action"), message.get("status", "event")) for message in messages}

    async def run(self, connect: Callable[[], Awaitable[Connection]], variables: dict[str, Any]) -> None:
        """Play the transcript on a server, and check what it answers.

        :param connect: ``async () -> Connection``.
        :param variables: name -> value, of the variables that are known before.
        """
        variables = dict(variables)
        connections: dict[str, Connection] = {}
        untold: dict[str, deque[bool]] = defaultdict(deque)
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

    async def _expect(
        self, place: str, connection: Connection, expected: dict[str, Any], untold: deque[bool], variables: dict[str, Any]
    ) -> None:
        place_of_id = _PLACE.fullmatch(str(expected.get("subscriptionId")))
        subscription = place_of_id[1] if place_of_id else ""
        is_event = "status" not in expected
        if is_event and variables.get(subscription) == _UNTOLD:
            return
        if not is_event and untold and untold.popleft():
            variables[subscription] = _UNTOLD
            return
        translated = connection.expected(expected)
        if translated is None:
            return
        came = json.loads(await connection.receive(variables[subscription] if is_event and subscription else None))
        if translated.get("status") == "error" and "detail" not in translated:
            came.pop("detail", None)
        difference = _compare(translated, came, variables, "")
        assert difference is None, f"{place}: {difference}\nin {json.dumps(came)}"

    async def _expect_nothing(self, client: str, connection: Connection) -> None:
        connection.send(json.dumps({"action": "server/info", "requestId": _END}))
        came = json.loads(await connection.receive())
        assert came.get("requestId") == _END, f"{self.name}: {client} got more than the transcript says: {json.dumps(came)}"


def _fill(text: str, variables: dict[str, Any]) -> str:
    """Replace the variables in a text to send. A text without variables stays exactly as it is."""
    if '"$' not in text:
        return text
    return json.dumps(_replace(json.loads(text), variables), ensure_ascii=False)


def _replace(value: Any, variables: dict[str, Any]) -> Any:
    if isinstance(value, dict):
        return {name: _replace(member, variables) for name, member in value.items()}
    if isinstance(value, list):
        return [_replace(element, variables) for element in value]
    match = _PLACE.fullmatch(value) if isinstance(value, str) else None
    return variables.get(match[1], value) if match else value


def _compare(expected: Any, came: Any, variables: dict[str, Any], path: str) -> str | None:
    """Find the first difference. Returns a sentence about it, or ``None``."""
    if isinstance(expected, str) and (match := _PLACE.fullmatch(expected)):
        return _compare_place(match[1], match[2], came, variables, path)
    if isinstance(expected, dict) and isinstance(came, dict):
        if expected.keys() != came.keys():
            return f"{path or 'the message'} has the members {sorted(came)}, not {sorted(expected)}"
        pairs = [(f"{path}.{name}", expected[name], came[name]) for name in expected]
    elif isinstance(expected, list) and isinstance(came, list) and len(expected) == len(came):
        pairs = [(f"{path}[{index}]", *pair) for index, pair in enumerate(zip(expected, came, strict=True))]
    else:
        return None if type(expected) is type(came) and expected == came else f"{path} is {came!r}, not {expected!r}"
    return next((found for place, wanted, actual in pairs if (found := _compare(wanted, actual, variables, place))), None)


def _compare_place(name: str, kind: str | None, came: Any, variables: dict[str, Any], path: str) -> str | None:
    if kind is not None and not KINDS[kind](came):
        return f"{path} is {came!r}, which is no {kind}"
    if name and variables.setdefault(name, came) != came:
        return f"{path} is {came!r}, not {variables[name]!r} as ${name} was before"
    return None


def transcripts() -> list[Transcript]:
    """All transcripts, by name."""
    return [Transcript(path) for path in sorted(FOLDER.glob("*.transcript"))]

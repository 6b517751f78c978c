"""Plays a transcript over REST, as the HTTP clients of DeviceHive do.

A request becomes the HTTP request of its action's route. ``authenticate`` becomes a token for later requests. A subscription becomes a loop
of long polls. Answers are translated into the form of the WebSocket. What REST cannot express is left out: see
:meth:`RestConnection.tells`.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from typing import Any
from urllib.parse import quote, urlencode

import msgspec
from twisted.internet.defer import Deferred, DeferredQueue
from twisted.python.failure import Failure

from dhtwisted import errors
from dhtwisted.actions import ACTIONS
from dhtwisted.actions.table import WHOLE, Action
from dhtwisted.wire.coercion import readers
from dhtwisted.wire.timestamps import format_timestamp, parse_timestamp
from tests.support.listening import Listening
from tests.support.transcript import Connection

SECONDS = 10
BASE = "/api/rest"
EVENTS = {"command/subscribe": "command", "notification/subscribe": "notification"}
SERVER_INFO = "server/info"

Members = dict[str, msgspec.Raw]
Query = Mapping[str, str] | Sequence[tuple[str, str]]

_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

OTHER_TEXTS = {
    (kind.code, kind.text): (kind.rest_code or kind.code, kind.rest_text or kind.text)
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.ApiError) and (kind.rest_text or kind.rest_code) and "text" in vars(kind)
}
"""Errors whose code or text differs over REST, from the classes of errors: code and text over WebSocket -> code and text over REST."""


class RestConnection(Connection):
    """A client of REST.

    :param server: the ``Listening`` of the tests.
    :ivar told: pairs of an action and ``success`` or ``error``, of all answers so far.
    """

    dialect = "rest"

    def __init__(self, server: Listening) -> None:
        self._server = server
        self._token: Any = None
        self._replies: DeferredQueue[str] = DeferredQueue()
        self._events: dict[int, DeferredQueue[str]] = defaultdict(DeferredQueue)
        self._serial = 0
        self._closed = False
        self.told: set[tuple[str, str]] = set()

    # What the runner calls

    def tells(self, text: str) -> bool:
        """Whether REST can express a request.

        It cannot if the action has no route, if a member for the path or the body is missing, or if a path or query cannot express a
        member's type.
        """
        try:
            members = _members(text)
            action = msgspec.json.decode(members.get("action", b"null"))
        except (msgspec.MsgspecError, UnicodeEncodeError):
            return False
        if action in (SERVER_INFO, "authenticate"):
            return True
        if action in EVENTS:
            return not members.keys() & {"limit"} and self._tells_query(ACTIONS[action], members)
        declared = ACTIONS.get(action) if isinstance(action, str) else None
        if declared is None or not declared.routes:
            return False
        route = declared.routes[0]
        known = readers(declared.fields)
        if not all(_is_path_part(members.get(place), known[place].kind) for place in route.places):
            return False
        if route.body == WHOLE:
            return members.keys() > {"action"}
        if route.body is not None:
            return bytes(members.get(route.body, b"null")) != b"null"
        return self._tells_query(declared, members)

    @staticmethod
    def _tells_query(declared: Action, members: Members) -> bool:
        return all(_is_query_value(members[name], reader.is_list) for name, reader in readers(declared.fields).items() if name in members)

    def send(self, text: str) -> None:
        members = _members(text)
        action = msgspec.json.decode(members["action"])
        token = _value(members["token"]) if "token" in members and action != "authenticate" else self._token
        envelope = {"action": action, "requestId": _value(members.get("requestId", b"null"))}
        if action == SERVER_INFO:
            work = self._info()
        elif action == "authenticate":
            work = self._authenticate(members)
        elif action in EVENTS:
            work = self._subscribe(action, members, token)
        else:
            work = self._call(ACTIONS[action], members, token)

        async def answer() -> None:
            reply = envelope | await work
            self.told.add((action, reply["status"]))
            self._replies.put(json.dumps(reply))

        Deferred.fromCoroutine(answer()).addErrback(lambda failure: self._replies.put(failure.getTraceback()))

    async def receive(self, subscription_id: int | None = None) -> str:
        queue = self._replies if subscription_id is None else self._events[subscription_id]
        return await queue.get().addTimeout(SECONDS, self._server.reactor)

    def expected(self, message: dict[str, Any]) -> dict[str, Any] | None:
        """The message that REST gives for a message of the transcript; ``None`` for none."""
        message = {name: value for name, value in message.items() if name != "detail"}
        if message.get("status") == "error" and message["action"] != "token":
            code, text = OTHER_TEXTS.get((message["code"], message["error"]), (message["code"], message["error"]))
            if code == 401 and text == errors.InvalidCredentials.text:
                text = errors.Unauthorized.text
            return message | {"code": code, "error": text}
        if message.get("subscriptionId", 0) is None:
            # REST has no connection that could receive the updates of the commands it has inserted.
            return None
        return message

    def close(self) -> None:
        self._closed = True
        more = [event for queue in self._events.values() for event in queue.pending]
        assert not more, f"more events than the transcript has: {more}"

    # What it does

    async def _send(
        self, method: str, path: str, query: Query = (), body: bytes | None = None, token: Any = None
    ) -> tuple[int, dict[str, str], Any]:
        headers = "" if token is None else f"Authorization: Bearer {token}\r\n"
        target = f"{BASE}{path}?{urlencode(query)}" if query else BASE + path
        status, told, content = await self._server.http(method, target, headers, body)
        assert status == 204 or content, f"{method} {path}: {status} without a body"
        return status, told, content and json.loads(content)

    async def _exchange(self, method: str, path: str, query: Query = (), token: Any = None) -> tuple[int, Any]:
        status, _, content = await self._send(method, path, query, token=token)
        return status, content

    @staticmethod
    def _error(content: dict[str, Any]) -> dict[str, Any]:
        assert content.keys() - {"detail"} == {"error", "message"}, content
        return {"status": "error", "code": content["error"], "error": content["message"]}

    async def _info(self) -> dict[str, Any]:
        _, content = await self._exchange("GET", "/info")
        assert content.keys() == {"apiVersion", "serverTimestamp", "webSocketServerUrl"}
        content["restServerUrl"] = content.pop("webSocketServerUrl").replace("ws:", "http:")
        return {"status": "success", "info": content}

    async def _authenticate(self, members: Members) -> dict[str, Any]:
        token = msgspec.json.decode(members.get("token", b"null"))
        status, content = await self._exchange("GET", "/info", token=token if isinstance(token, str) else "")
        if status != 200:
            return self._error(content)
        self._token = token
        return {"status": "success"}

    async def _call(self, action: Action, members: Members, token: Any) -> dict[str, Any]:
        route = action.routes[0]
        path = route.path
        for place in route.places:
            path = path.replace(f"{{{place}}}", quote(_text(members[place]), safe=""))
        known = readers(action.fields)
        body: bytes | None = None
        query: Query = ()
        if route.body == WHOLE:
            body = msgspec.json.encode({name: raw for name, raw in members.items() if name not in ("action", "requestId", *route.places)})
        elif route.body is not None:
            body = bytes(members[route.body])
        else:
            query = _query(members, known.keys() - {"token", "requestId", *route.places})
        status, headers, content = await self._send(route.method, path, query, body, token)
        if status >= 400:
            return self._error(content)
        if route.reply_headers:
            assert status == 204
            told = {member: headers.get(name.lower()) for member, name in route.reply_headers.items()}
            return {"status": "success"} | (told if any(told.values()) else {})
        assert status == (204 if action.reply is None else route.status)
        if action.reply is None:
            return {"status": "success"}
        envelope = {known_name(action.reply, action.answer): content} if action.answer is not None else content
        return {"status": "success"} | envelope

    async def _subscribe(self, action: str, members: Members, token: Any) -> dict[str, Any]:
        """Ask once without waiting whether the poll is permitted, then poll until the end, as the Python client does."""
        query = dict(_query(members, readers(ACTIONS[action].fields).keys() - {"token", "requestId", "timestamp", "deviceId"}))
        if "deviceId" in members:
            query["deviceId"] = _text(members["deviceId"])
        if "timestamp" in members:
            query["timestamp"] = _text(members["timestamp"])
        path = f"/device/{EVENTS[action]}/poll"
        status, content = await self._exchange("GET", path, query | {"waitTimeout": "0"}, token=token)
        if status >= 400:
            return self._error(content)
        if "timestamp" in members:
            # Over WebSocket the bound is inclusive.
            query["timestamp"] = format_timestamp(parse_timestamp(_value(members["timestamp"])) - 1)
        self._serial += 1
        serial = self._serial
        first = await self._begin_poll(path, query, token)
        Deferred.fromCoroutine(self._poll(first, path, query, token, action, serial)).addErrback(self._poll_failed, serial)
        return {"status": "success", "subscriptionId": serial}

    async def _begin_poll(self, path: str, query: dict[str, str], token: Any) -> Deferred[tuple[int, Any]]:
        """Send a poll, and return when the server has it waiting or has answered it."""
        polls = self._server.memory.server.polls
        before = len(polls)
        answer = Deferred.fromCoroutine(self._exchange("GET", path, query, token=token))
        while len(polls) <= before and not answer.called and not self._closed:
            await self._server.tick()
        return answer

    async def _poll(
        self, answer: Deferred[tuple[int, Any]], path: str, query: dict[str, str], token: Any, action: str, serial: int
    ) -> None:
        kind = EVENTS[action]
        updates = query.get("returnUpdatedCommands") == "true"
        status, messages = await answer
        while not self._closed and status == 200:
            # The largest timestamp so far: a client may have given a message an earlier one. The next poll begins before the events are
            # passed on: no poll finds a message with an earlier timestamp that is inserted while no poll waits.
            times = [message["lastUpdated" if updates else "timestamp"] for message in messages]
            if times:
                query["timestamp"] = max(query.get("timestamp", ""), *times)
            answer = await self._begin_poll(path, query, token)
            for message in messages:
                event = {"action": f"{kind}/{'update' if updates else 'insert'}", "subscriptionId": serial, kind: message}
                self._events[serial].put(json.dumps(event))
            status, messages = await answer

    def _poll_failed(self, failure: Failure, serial: int) -> None:
        if not self._closed:
            self._events[serial].put(failure.getTraceback())


def known_name(reply: type[msgspec.Struct], field: str) -> str:
    """The wire name of a field of a reply."""
    return next(member.encode_name for member in msgspec.structs.fields(reply) if member.name == field)


def _value(raw: bytes | msgspec.Raw) -> Any:
    try:
        return msgspec.json.decode(raw)
    except msgspec.MsgspecError:
        return {}


def _text(raw: bytes | msgspec.Raw) -> str:
    value = _value(raw)
    return value if isinstance(value, str) else bytes(raw).decode()


def _is_path_part(raw: bytes | msgspec.Raw | None, kind: Any) -> bool:
    value = None if raw is None else _value(raw)
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return False
    return value != "" and (kind is not int or isinstance(value, int) or value.isdigit())


def _is_query_value(raw: bytes | msgspec.Raw, is_list: bool) -> bool:
    value = _value(raw)
    if is_list and isinstance(value, list):
        return all(isinstance(element, (str, int)) and "," not in str(element) and element != "" for element in value)
    return value is None or (value != "" and not isinstance(value, (list, dict)) and not is_list)


def _query(members: Members, names: Set[str]) -> list[tuple[str, str]]:
    pairs = []
    for name in sorted(names & members.keys()):
        value = _value(members[name])
        if isinstance(value, list):
            pairs.append((name, ",".join(map(str, value))))
        elif value is not None:
            pairs.append((name, _text(members[name])))
    return pairs

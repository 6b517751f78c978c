"""A client of the REST API of a ``MemoryServer``, without HTTP."""

import json
from collections.abc import AsyncIterable
from typing import Any
from urllib.parse import parse_qs

from twisted.internet.defer import Deferred

from dhtwisted.core.coroutines import run
from dhtwisted.fronts.rest.api import RestApi
from dhtwisted.fronts.rest.caller import Call, Caller
from dhtwisted.model import User
from dhtwisted.testing.server import MemoryServer
from tests.support import strict_json

WEBSOCKET_URL = "ws://hive.example/api/websocket"


class RestClient:
    """Sends requests as :mod:`dhtwisted.transports.http.site` would.

    :param authorization: the header of every request; ``None`` for none.
    :ivar caller: the caller of the last request.
    :ivar headers: the further headers of the last answer.
    :ivar detail: the detail of the last error.
    """

    def __init__(self, memory: MemoryServer, authorization: str | None = None) -> None:
        self._api = RestApi(memory.server)
        self._authorization = authorization
        self.caller: Caller | None = None
        self.headers: dict[str, str] = {}
        self.detail: Any = None

    def send(
        self, method: str, path: str, body: Any = None, content_type: str | None = None, headers: dict[str, str] | None = None
    ) -> Deferred[tuple[int, Any]]:
        """Begin a request. When the answer comes, ``headers`` has its further headers, and ``detail`` the detail of an error.

        :param body: bytes are sent as they are, anything else as JSON.
        :param headers: further ones of the request.
        :returns: a Deferred of the status and the decoded body without an error's detail, ``None`` for no body.
        """
        path, _, query_text = path.partition("?")
        self.caller = Caller("192.0.2.1", WEBSOCKET_URL)
        if not isinstance(body, bytes):
            body = b"" if body is None else json.dumps(body).encode()
        segments = path.strip("/").split("/")
        query, header = parse_qs(query_text, keep_blank_values=True), (headers or {}).get
        call = Call(method, segments, query, body, content_type, self._authorization, self.caller, header)
        answered: Deferred[tuple[int, Any]] = Deferred()

        def done(status: int, content: Any, lines: bytes = b"") -> None:
            self.headers = dict(line.split(": ", 1) for line in lines.decode().splitlines())
            if hasattr(content, "__anext__"):
                run(_whole(content), lambda whole, error: answered.errback(error) if error else read(status, whole))
            else:
                read(status, content)

        def read(status: int, content: Any) -> None:
            content = content and strict_json.read(content)
            self.detail = content.pop("detail", None) if status >= 400 else None
            answered.callback((status, content))

        self._api.handle(call, done)
        return answered

    async def get(self, path: str) -> Any:
        """Send a ``GET`` that must be answered with 200. Returns the body."""
        status, content = await self.send("GET", path)
        assert status == 200, (status, content)
        return content


async def _whole(portions: AsyncIterable[bytes]) -> bytes:
    return b"".join([portion async for portion in portions])


def client(memory: MemoryServer, user: User | None = None, **claims: Any) -> RestClient:
    """Make a client with a token, see ``MemoryServer.token``."""
    return RestClient(memory, f"Bearer {memory.token(user, **claims)}")

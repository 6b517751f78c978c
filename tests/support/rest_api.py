"""A client of the REST API of a ``MemoryServer``, without HTTP."""

import json
from urllib.parse import parse_qs

from twisted.internet.defer import Deferred

from dhtwisted.core.coroutines import run
from dhtwisted.fronts.rest.api import RestApi
from dhtwisted.fronts.rest.caller import Call, Caller
from tests.support import strict_json

WEBSOCKET_URL = "ws://hive.example/api/websocket"


class RestClient:
    """Sends requests as :mod:`dhtwisted.transports.http.site` would.

    :param memory: a ``MemoryServer``.
    :param authorization: the header of every request; ``None`` for none.
    """

    def __init__(self, memory, authorization=None):
        self._api = RestApi(memory.server)
        self._authorization = authorization
        self.caller = None
        self.headers = {}
        self.detail = None

    def send(self, method, path, body=None, content_type=None, headers=None):
        """Begin a request. The further headers of its answer are in ``headers`` when it is there, and the detail of an error in ``detail``.

        :param body: bytes as they are, anything else as JSON.
        :param headers: further ones of the request.
        :returns: a Deferred of the status and the decoded body without an error's detail, ``None`` for no body.
        """
        path, _, query = path.partition("?")
        self.caller = Caller("192.0.2.1", WEBSOCKET_URL)
        if not isinstance(body, bytes):
            body = b"" if body is None else json.dumps(body).encode()
        segments = path.strip("/").split("/")
        query, header = parse_qs(query, keep_blank_values=True), (headers or {}).get
        call = Call(method, segments, query, body, content_type, self._authorization, self.caller, header)
        answered = Deferred()

        def done(status, content, lines=b""):
            self.headers = dict(line.split(": ", 1) for line in lines.decode().splitlines())
            if hasattr(content, "__anext__"):
                run(_whole(content), lambda whole, error: answered.errback(error) if error else read(status, whole))
            else:
                read(status, content)

        def read(status, content):
            content = content and strict_json.read(content)
            self.detail = content.pop("detail", None) if status >= 400 else None
            answered.callback((status, content))

        self._api.handle(call, done)
        return answered

    async def get(self, path):
        """The body of an answer that must be 200."""
        status, content = await self.send("GET", path)
        assert status == 200, (status, content)
        return content


async def _whole(portions):
    return b"".join([portion async for portion in portions])


def client(memory, user=None, **claims):
    """A client with a token as ``MemoryServer.token`` makes it."""
    return RestClient(memory, f"Bearer {memory.token(user, **claims)}")

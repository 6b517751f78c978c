"""The same requests over WebSocket or over REST."""

from typing import Any

from dhtwisted.model import User
from dhtwisted.testing.server import MemoryClient, MemoryServer
from tests.support import rest_api

Answer = tuple[int, str | None, Any]
"""The code, 200 for a success; the text of an error; the reply."""

ROUTES: dict[str, tuple[str, str, str | None]] = {
    "device/save": ("PUT", "/device/{deviceId}", "device"),
    "device/delete": ("DELETE", "/device/{deviceId}", None),
    "notification/insert": ("POST", "/device/{deviceId}/notification", "notification"),
    "command/insert": ("POST", "/device/{deviceId}/command", "command"),
    "command/update": ("PUT", "/device/{deviceId}/command/{commandId}", "command"),
    "network/insert": ("POST", "/network", "network"),
    "network/delete": ("DELETE", "/network/{networkId}?force=true", None),
    "devicetype/insert": ("POST", "/devicetype", "deviceType"),
    "devicetype/delete": ("DELETE", "/devicetype/{deviceTypeId}?force=true", None),
    "token/create": ("POST", "/token/create", "payload"),
    "token/revoke": ("DELETE", "/token/{tokenId}", None),
    "user/get": ("GET", "/user/{userId}", None),
    "user/getCurrent": ("GET", "/user/current", None),
    "user/update": ("PUT", "/user/{userId}", "user"),
    "user/updateCurrent": ("PUT", "/user/current", "user"),
}


class WebSocketFront:
    """:param client: a ``MemoryClient``."""

    def __init__(self, client: MemoryClient) -> None:
        self._client = client

    async def ask(self, action: str, **members: Any) -> Answer:
        """Send a request and return the answer to it."""
        reply = await self._client.request(action, **members)
        return (200, None, reply) if reply["status"] == "success" else (reply["code"], reply["error"], reply)


class RestFront:
    """:param client: a :class:`~tests.support.rest_api.RestClient`."""

    def __init__(self, client: rest_api.RestClient) -> None:
        self._client = client

    async def ask(self, action: str, **members: Any) -> Answer:
        """As :meth:`WebSocketFront.ask`."""
        method, path, body = ROUTES[action]
        status, content = await self._client.send(method, path.format(**members), body and members[body])
        return (200, None, content) if status < 300 else (status, content["message"], content)


async def front(name: str, server: MemoryServer, user: User | None = None) -> WebSocketFront | RestFront:
    """Make a client of a ``MemoryServer``.

    :param name: ``websocket`` or ``rest``.
    """
    return WebSocketFront(await server.client(user)) if name == "websocket" else RestFront(rest_api.client(server, user))

"""``info`` as HTTP clients know it: firmware and test tools find the WebSocket by it (REST reference, section 8.1)."""

from __future__ import annotations

from dhtwisted.actions.table import Route, endpoint
from dhtwisted.core.server import API_VERSION
from dhtwisted.wire.fields import Fields
from dhtwisted.wire.resources import Resource
from dhtwisted.wire.timestamps import format_timestamp


class RestInfo(Fields, tag="info"):
    """No members."""


class RestApiInfo(Resource):
    """Exactly these three: a REST client is told of the WebSocket, a WebSocket client of REST, and nobody of both."""

    api_version: str
    server_timestamp: str
    web_socket_server_url: str


@endpoint(RestInfo, rest=Route("GET", "/info"))
async def info(request) -> RestApiInfo:
    """Tell the API's version, the server's time and the address of its WebSocket. Clients take the time as the beginning of their polls."""
    return RestApiInfo(
        api_version=API_VERSION,
        server_timestamp=format_timestamp(request.server.now()),
        web_socket_server_url=request.session.output.websocket_url,
    )

"""About the server: ``server/info``."""

from __future__ import annotations

from dhtwisted.actions.declare import action
from dhtwisted.resources import Resource
from dhtwisted.schema import Fields
from dhtwisted.server import API_VERSION
from dhtwisted.timestamps import format_timestamp


class ServerInfo(Fields, tag="server/info"):
    """No members."""


class ApiInfo(Resource):
    """Exactly these three: the official suite compares the list of members."""

    api_version: str
    server_timestamp: str
    rest_server_url: str


class Info(Resource):
    """The reply's member."""

    info: ApiInfo


@action(ServerInfo)
async def server_info(request) -> Info:
    """Tell the API's version, the server's time and the address of its REST API.

    WebSocket reference, section 3.3. Clients take the time as the default ``timestamp`` of later subscriptions.
    """
    return Info(
        info=ApiInfo(
            api_version=API_VERSION,
            server_timestamp=format_timestamp(request.server.now()),
            rest_server_url=request.session.output.rest_url,
        )
    )

"""About the server: ``server/info``, ``server/cacheInfo``, ``cluster/info`` (WebSocket reference, section 3.3), and the ``GET /info`` of
REST, with which firmware and test tools find the WebSocket (REST reference, section 8.1).
"""

from __future__ import annotations

from typing import Annotated, cast

from msgspec import Meta, field

from dhtwisted.actions.table import Route, action, endpoint
from dhtwisted.core.client import IPollingClient, ISubscriber
from dhtwisted.core.server import API_VERSION, Request
from dhtwisted.model import Device, EntityQuery, User
from dhtwisted.wire.fields import Fields
from dhtwisted.wire.members import Time
from dhtwisted.wire.resources import Resource
from dhtwisted.wire.timestamps import format_timestamp

NO_CLUSTER = "none"


class ServerInfo(Fields, tag="server/info"):
    """No members."""


class ApiInfo(Resource):
    """Exactly these three: the official suite compares the list of members."""

    api_version: Annotated[str, Meta(description="version of the DeviceHive API")]
    server_timestamp: Annotated[Time, Meta(description="the time of the server")]
    rest_server_url: Annotated[str, Meta(description="URL of the REST API")]


class Info(Resource):
    """The reply's member."""

    info: Annotated[ApiInfo, Meta(description="about the server")]


@action(ServerInfo)
async def server_info(request: Request[ServerInfo]) -> Info:
    """Return the version of the API, the time of the server and the URL of its REST API.

    WebSocket reference, section 3.3. Clients take the time as the default ``timestamp`` of later subscriptions.
    """
    return Info(
        info=ApiInfo(
            api_version=API_VERSION,
            server_timestamp=format_timestamp(request.server.now()),
            # A cast: clients ask this often, and to ask for the interface takes 1.5 us.
            rest_server_url=cast(ISubscriber, request.session).output.rest_url,
        )
    )


class RestInfo(Fields, tag="info"):
    """No members."""


class RestApiInfo(Resource):
    """Exactly these three members. REST clients get the URL of the WebSocket; ``server/info`` has the URL of REST."""

    api_version: Annotated[str, Meta(description="version of the DeviceHive API")]
    server_timestamp: Annotated[Time, Meta(description="the time of the server")]
    web_socket_server_url: Annotated[str, Meta(description="URL of the WebSocket")]


@endpoint(RestInfo, rest=Route("GET", "/info"))
async def info(request: Request[RestInfo]) -> RestApiInfo:
    """Return the version of the API, the time of the server and the URL of its WebSocket. Clients begin their polls at this time."""
    return RestApiInfo(
        api_version=API_VERSION,
        server_timestamp=format_timestamp(request.server.now()),
        web_socket_server_url=IPollingClient(request.session).websocket_url,
    )


class ServerCacheInfo(Fields, tag="server/cacheInfo"):
    """No members."""


class CacheInfoResource(Resource):
    """Exactly these two; ``cacheStats`` is a text."""

    server_timestamp: Annotated[Time, Meta(description="the time of the server")]
    cache_stats: Annotated[str, Meta(description="a text; only authenticated clients see the numbers")]


class CacheInfo(Resource):
    """The reply's member."""

    cache_info: Annotated[CacheInfoResource, Meta(description="about the cache of the server")]


@action(ServerCacheInfo, rest=Route("GET", "/info/cache"))
async def server_cache_info(request: Request[ServerCacheInfo]) -> CacheInfo:
    """Return what is in the cache of the server. Only authenticated clients see the numbers."""
    statistics = "available"
    if request.principal is not None:
        count = request.server.entities.count
        statistics = f"users: {await count(User, EntityQuery())}, devices: {await count(Device, EntityQuery())}"
    timestamp = format_timestamp(request.server.now())
    return CacheInfo(cache_info=CacheInfoResource(server_timestamp=timestamp, cache_stats=statistics))


class ClusterInfoRequest(Fields, tag="cluster/info"):
    """No members."""


class ClusterInfoResource(Resource):
    """Exactly these two, with dots in their names. There is no such cluster, and the Go client takes no empty text."""

    bootstrap_servers: Annotated[str, Meta(description="always `none`")] = field(name="bootstrap.servers", default=NO_CLUSTER)
    zookeeper_connect: Annotated[str, Meta(description="always `none`")] = field(name="zookeeper.connect", default=NO_CLUSTER)


class ClusterInfo(Resource):
    """The reply's member."""

    cluster_info: Annotated[ClusterInfoResource, Meta(description="about the cluster")]


@action(ClusterInfoRequest, rest=Route("GET", "/info/config/cluster"))
async def cluster_info(request: Request[ClusterInfoRequest]) -> ClusterInfo:
    """Return the addresses of DeviceHive's cluster. This server has none, and both texts are ``none``."""
    return ClusterInfo(cluster_info=ClusterInfoResource())

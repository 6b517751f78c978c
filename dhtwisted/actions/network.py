"""Networks: ``network/list``, ``count``, ``get``, ``insert``, ``update``, ``delete`` (WebSocket reference, section 3.8)."""

from __future__ import annotations

from operator import attrgetter

from msgspec import UNSET

from dhtwisted.actions.audit import Written
from dhtwisted.actions.groups import GroupChange, Grouping, NewGroup
from dhtwisted.actions.table import Route, action
from dhtwisted.core.access import Permission, Principal
from dhtwisted.errors import MissingNetwork, MissingNetworkId, NetworkNameTaken, NetworkNotEmpty, NetworkNotFound
from dhtwisted.model import Network
from dhtwisted.wire.fields import Fields, Integer
from dhtwisted.wire.resources import Count, GroupResource, GroupWithDevices, IdResource, More, Resource

NETWORKS = Grouping(
    kind=Network,
    member="network",
    device_field="network_id",
    user_field="network_ids",
    accessible=Principal.networks,
    named=attrgetter("token_networks"),
    quota="networks",
    not_found=NetworkNotFound,
    missing_id=MissingNetworkId,
    missing=MissingNetwork,
    name_taken=NetworkNameTaken,
    not_empty=NetworkNotEmpty,
)


class NetworkCount(Fields, tag="network/count"):
    """Which networks: ``name`` (exact), ``namePattern`` (SQL LIKE)."""

    name: str | None = None
    name_pattern: str | None = None


class NetworkList(NetworkCount, tag="network/list"):
    """The same, with order (``sortField``: ``id`` or ``name``) and page."""

    sort_field: str | None = None
    sort_order: str | None = None
    take: Integer | None = None
    skip: Integer | None = None


class Networks(Resource):
    """The reply's member."""

    networks: list[GroupResource]
    more: More = UNSET


@action(NetworkList, Permission.GET_NETWORK, rest=Route("GET", "/network"))
async def network_list(request) -> Networks:
    """List the networks that the caller may use."""
    return await NETWORKS.list(request, lambda networks, more: Networks(networks=networks, more=more))


@action(NetworkCount, Permission.GET_NETWORK, rest=Route("GET", "/network/count"))
async def network_count(request) -> Count:
    """Count the networks that the caller may use."""
    return await NETWORKS.count(request)


class NetworkGet(Fields, tag="network/get"):
    """``networkId``."""

    network_id: Integer | None = None


class OneNetwork(Resource):
    """The reply's member."""

    network: GroupWithDevices


@action(NetworkGet, Permission.GET_NETWORK, rest=Route("GET", "/network/{networkId}"))
async def network_get(request) -> OneNetwork:
    """Read one network with its devices."""
    return await NETWORKS.with_devices(request, request.fields.network_id, lambda found: OneNetwork(network=found))


class NetworkInsert(Fields, tag="network/insert"):
    """``network``."""

    network: NewGroup | None = None


class InsertedNetwork(Resource):
    """The reply's member."""

    network: IdResource


@action(NetworkInsert, Permission.MANAGE_NETWORK, rest=Route("POST", "/network", body="network", status=201), audit=Written(Network))
async def network_insert(request) -> InsertedNetwork:
    """Make a network. It is assigned to nobody."""
    return InsertedNetwork(network=IdResource(id=(await NETWORKS.insert(request, request.fields.network)).id))


class NetworkUpdate(Fields, tag="network/update"):
    """``networkId`` and ``network``."""

    network_id: Integer | None = None
    network: GroupChange | None = None


@action(
    NetworkUpdate,
    Permission.MANAGE_NETWORK,
    rest=Route("PUT", "/network/{networkId}", body="network", object_first=True),
    audit=Written(Network, "fields.network_id"),
)
async def network_update(request):
    """Change the given members of a network."""
    await NETWORKS.update(request, request.fields.network_id, request.fields.network)


class NetworkDelete(Fields, tag="network/delete"):
    """``networkId``; ``force``: with its devices."""

    network_id: Integer | None = None
    force: bool | None = None


@action(NetworkDelete, Permission.MANAGE_NETWORK, rest=Route("DELETE", "/network/{networkId}"), audit=Written(Network, "fields.network_id"))
async def network_delete(request):
    """Delete a network; one that has devices only with ``force``, and then they go with all their messages."""
    await NETWORKS.delete(request, request.fields.network_id, request.fields.force)

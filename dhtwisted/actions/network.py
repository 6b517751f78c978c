"""Networks: ``network/list``, ``count``, ``get``, ``insert``, ``update``, ``delete`` (WebSocket reference, section 3.8)."""

from __future__ import annotations

from operator import attrgetter
from typing import Annotated

from msgspec import UNSET, Meta

from dhtwisted.actions.audit import Written
from dhtwisted.actions.groups import GroupChange, Grouping, NewGroup
from dhtwisted.actions.table import Route, action
from dhtwisted.core.access import Permission, Principal
from dhtwisted.core.server import Request
from dhtwisted.errors import MissingNetwork, MissingNetworkId, NetworkNameTaken, NetworkNotEmpty, NetworkNotFound
from dhtwisted.model import Network
from dhtwisted.wire.fields import Fields
from dhtwisted.wire.members import REQUIRED, ExactName, More, NamePattern, NetworkId, Skip, SortByIdOrName, SortOrder, Take
from dhtwisted.wire.resources import Count, GroupResource, GroupWithDevices, IdResource, Resource

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

    name: ExactName | None = None
    name_pattern: NamePattern | None = None


class NetworkList(NetworkCount, tag="network/list"):
    """The same, with order (``sortField``: ``id`` or ``name``) and page."""

    sort_field: SortByIdOrName | None = None
    sort_order: SortOrder | None = None
    take: Take | None = None
    skip: Skip | None = None


class Networks(Resource):
    """The reply's member."""

    networks: Annotated[list[GroupResource], Meta(description="the networks")]
    more: More = UNSET


@action(NetworkList, Permission.GET_NETWORK, rest=Route("GET", "/network"))
async def network_list(request: Request[NetworkList]) -> Networks:
    """List the networks that the caller may use."""
    return await NETWORKS.list(request, lambda networks, more: Networks(networks=networks, more=more))


@action(NetworkCount, Permission.GET_NETWORK, rest=Route("GET", "/network/count"))
async def network_count(request: Request[NetworkCount]) -> Count:
    """Count the networks that the caller may use."""
    return await NETWORKS.count(request)


class NetworkGet(Fields, tag="network/get"):
    """``networkId``."""

    network_id: Annotated[NetworkId | None, REQUIRED] = None


class OneNetwork(Resource):
    """The reply's member."""

    network: Annotated[GroupWithDevices, Meta(description="the network")]


@action(NetworkGet, Permission.GET_NETWORK, rest=Route("GET", "/network/{networkId}"))
async def network_get(request: Request[NetworkGet]) -> OneNetwork:
    """Read one network with its devices."""
    return await NETWORKS.with_devices(request, request.fields.network_id, lambda found: OneNetwork(network=found))


class NetworkInsert(Fields, tag="network/insert"):
    """``network``."""

    network: Annotated[NewGroup | None, Meta(description="the network"), REQUIRED] = None


class InsertedNetwork(Resource):
    """The reply's member."""

    network: Annotated[IdResource, Meta(description="the network")]


@action(NetworkInsert, Permission.MANAGE_NETWORK, rest=Route("POST", "/network", body="network", status=201), audit=Written(Network))
async def network_insert(request: Request[NetworkInsert]) -> InsertedNetwork:
    """Create a network. It is assigned to nobody."""
    return InsertedNetwork(network=IdResource(id=(await NETWORKS.insert(request, request.fields.network)).id))


class NetworkUpdate(Fields, tag="network/update"):
    """``networkId`` and ``network``."""

    network_id: Annotated[NetworkId | None, REQUIRED] = None
    network: Annotated[GroupChange | None, Meta(description="the change of the network"), REQUIRED] = None


@action(
    NetworkUpdate,
    Permission.MANAGE_NETWORK,
    rest=Route("PUT", "/network/{networkId}", body="network", object_first=True),
    audit=Written(Network, "fields.network_id"),
)
async def network_update(request: Request[NetworkUpdate]) -> None:
    """Change the given members of a network."""
    await NETWORKS.update(request, request.fields.network_id, request.fields.network)


class NetworkDelete(Fields, tag="network/delete"):
    """``networkId``; ``force``: with its devices."""

    network_id: Annotated[NetworkId | None, REQUIRED] = None
    force: Annotated[bool | None, Meta(description="delete its devices too; without this, one that has devices is not deleted")] = None


@action(NetworkDelete, Permission.MANAGE_NETWORK, rest=Route("DELETE", "/network/{networkId}"), audit=Written(Network, "fields.network_id"))
async def network_delete(request: Request[NetworkDelete]) -> None:
    """Delete a network. If it has devices, this needs ``force``, and deletes the devices with all their messages."""
    await NETWORKS.delete(request, request.fields.network_id, request.fields.force)

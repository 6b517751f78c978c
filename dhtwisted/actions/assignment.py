"""Which networks and device types a user has: ``user/assignNetwork`` and similar actions (WebSocket reference, section 3.9).

The token needs the permission; its lists are not checked (auth reference, section 5). A change is in force at once, also for subscriptions.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta

from dhtwisted.actions.audit import Written
from dhtwisted.actions.devicetype import DEVICE_TYPES
from dhtwisted.actions.groups import Grouping
from dhtwisted.actions.lists import answer_list, entity_pages
from dhtwisted.actions.lookups import plain_query
from dhtwisted.actions.network import NETWORKS
from dhtwisted.actions.table import Route, action
from dhtwisted.actions.user import find_user
from dhtwisted.core.access import Permission
from dhtwisted.core.server import Request
from dhtwisted.errors import AllDeviceTypesAllowed, Missing, UserDeviceTypeNotFound, UserNetworkNotFound, UserNotFound
from dhtwisted.model import DeviceType, User, With, Without
from dhtwisted.wire.fields import Fields
from dhtwisted.wire.members import REQUIRED, DeviceTypeId, More, NetworkId, Skip, TakeOfAll, UserId
from dhtwisted.wire.resources import GroupResource, Resource

NETWORK, DEVICE_TYPE = "/user/{userId}/network/{networkId}", "/user/{userId}/devicetype/{deviceTypeId}"
ALL_DEVICE_TYPES = "/user/{userId}/devicetype/all"


async def _find(request: Request, grouping: Grouping, group_id: int | None) -> Any:
    """A network or device type, without a check of the caller's rights."""
    if group_id is None:
        raise grouping.missing_id()
    group = await request.server.entities.get(grouping.kind, group_id)
    if group is None:
        raise grouping.not_found(group_id)
    return group


def _asks_of_another(request: Request) -> bool:
    """Whether a caller who is no administrator asks for what another user has: its name and description are not for them."""
    user_id, principal = request.fields.user_id, request.principal
    return user_id is not None and user_id != principal.user_id and not principal.is_administrator


async def _change(request: Request, user: User, changes: dict[str, Any]) -> None:
    try:
        await request.server.entities.update(User, user.id, changes)
    except Missing:
        raise UserNotFound(user.id) from None


class UserGetNetwork(Fields, tag="user/getNetwork"):
    """``userId`` and ``networkId``."""

    user_id: Annotated[UserId | None, REQUIRED] = None
    network_id: Annotated[NetworkId | None, REQUIRED] = None


class NetworkOfUser(Resource):
    """A network inside an object of its own: clients look for it there."""

    network: Annotated[GroupResource, Meta(description="the network")]


class OneNetworkOfUser(Resource):
    """The reply's member."""

    network: Annotated[NetworkOfUser, Meta(description="the network")]


@action(UserGetNetwork, Permission.GET_NETWORK, rest=Route("GET", NETWORK))
async def user_get_network(request: Request[UserGetNetwork]) -> OneNetworkOfUser:
    """Read a network that is assigned to a user. A caller with the client's role can only read their own."""
    network_id = request.fields.network_id
    if _asks_of_another(request):
        raise UserNetworkNotFound(network_id, request.fields.user_id)
    user = await find_user(request, request.fields.user_id)
    if network_id is None:
        raise NETWORKS.missing_id()
    if network_id not in user.network_ids:
        raise UserNetworkNotFound(network_id, user.id)
    network = await _find(request, NETWORKS, network_id)
    return OneNetworkOfUser(network=NetworkOfUser(network=GroupResource.of(network)))


class UserAssignNetwork(Fields, tag="user/assignNetwork"):
    """``userId`` and ``networkId``."""

    user_id: Annotated[UserId | None, REQUIRED] = None
    network_id: Annotated[NetworkId | None, REQUIRED] = None


@action(UserAssignNetwork, Permission.MANAGE_NETWORK, rest=Route("PUT", NETWORK), audit=Written(User, "fields.user_id"))
async def user_assign_network(request: Request[UserAssignNetwork]) -> None:
    """Assign a network to a user. It succeeds also if the user has the network already."""
    user = await find_user(request, request.fields.user_id)
    network = await _find(request, NETWORKS, request.fields.network_id)
    await _change(request, user, {"network_ids": With(frozenset({network.id}))})


class UserUnassignNetwork(Fields, tag="user/unassignNetwork"):
    """``userId`` and ``networkId``."""

    user_id: Annotated[UserId | None, REQUIRED] = None
    network_id: Annotated[NetworkId | None, REQUIRED] = None


@action(UserUnassignNetwork, Permission.MANAGE_NETWORK, rest=Route("DELETE", NETWORK), audit=Written(User, "fields.user_id"))
async def user_unassign_network(request: Request[UserUnassignNetwork]) -> None:
    """Take a network from a user. It succeeds also if the user does not have the network."""
    user = await find_user(request, request.fields.user_id)
    network = await _find(request, NETWORKS, request.fields.network_id)
    await _change(request, user, {"network_ids": Without(frozenset({network.id}))})


class UserGetDeviceType(Fields, tag="user/getDeviceType"):
    """``userId`` and ``deviceTypeId``."""

    user_id: Annotated[UserId | None, REQUIRED] = None
    device_type_id: Annotated[DeviceTypeId | None, REQUIRED] = None


class DeviceTypeOfUser(Resource):
    """A device type inside an object of its own: clients look for it there."""

    device_type: Annotated[GroupResource, Meta(description="the device type")]


class OneDeviceTypeOfUser(Resource):
    """The reply's member."""

    device_type: Annotated[DeviceTypeOfUser, Meta(description="the device type")]


@action(UserGetDeviceType, Permission.GET_DEVICE_TYPE, rest=Route("GET", DEVICE_TYPE))
async def user_get_device_type(request: Request[UserGetDeviceType]) -> OneDeviceTypeOfUser:
    """Read a device type that a user may use. A caller with the client's role can only read their own."""
    device_type_id = request.fields.device_type_id
    if _asks_of_another(request):
        raise UserDeviceTypeNotFound(device_type_id, request.fields.user_id)
    user = await find_user(request, request.fields.user_id)
    if device_type_id is None:
        raise DEVICE_TYPES.missing_id()
    device_type = await request.server.entities.get(DeviceType, device_type_id)
    if device_type is None or not (user.all_device_types_available or device_type_id in user.device_type_ids):
        raise UserDeviceTypeNotFound(device_type_id, user.id)
    return OneDeviceTypeOfUser(device_type=DeviceTypeOfUser(device_type=GroupResource.of(device_type)))


class UserGetDeviceTypes(Fields, tag="user/getDeviceTypes"):
    """``userId``, and a page: ``take``, ``skip``."""

    user_id: Annotated[UserId | None, REQUIRED] = None
    take: TakeOfAll | None = None
    skip: Skip | None = None


class DeviceTypesOfUser(Resource):
    """The reply's member."""

    device_types: Annotated[list[GroupResource], Meta(description="the device types")]
    more: More = UNSET


@action(UserGetDeviceTypes, Permission.MANAGE_DEVICE_TYPE, rest=Route("GET", "/user/{userId}/devicetype"))
async def user_get_device_types(request: Request[UserGetDeviceTypes]) -> DeviceTypesOfUser:
    """List the device types of a user; all device types if the user may use all."""
    user = await find_user(request, request.fields.user_id)

    async def conditions() -> dict[str, Any]:
        return {"within": {} if user.all_device_types_available else {"id": user.device_type_ids}}

    def make(device_types: Any, more: Any) -> DeviceTypesOfUser:
        return DeviceTypesOfUser(device_types=device_types, more=more)

    pages = entity_pages(request, DeviceType, plain_query(request, **await conditions()), conditions)
    return await answer_list(request, pages, GroupResource.of, make)


class UserAssignDeviceType(Fields, tag="user/assignDeviceType"):
    """``userId`` and ``deviceTypeId``."""

    user_id: Annotated[UserId | None, REQUIRED] = None
    device_type_id: Annotated[DeviceTypeId | None, REQUIRED] = None


@action(UserAssignDeviceType, Permission.MANAGE_DEVICE_TYPE, rest=Route("PUT", DEVICE_TYPE), audit=Written(User, "fields.user_id"))
async def user_assign_device_type(request: Request[UserAssignDeviceType]) -> None:
    """Assign a device type to a user who may not use all. It succeeds also if the user has it already."""
    await _change_device_types(request, With)


class UserUnassignDeviceType(Fields, tag="user/unassignDeviceType"):
    """``userId`` and ``deviceTypeId``."""

    user_id: Annotated[UserId | None, REQUIRED] = None
    device_type_id: Annotated[DeviceTypeId | None, REQUIRED] = None


@action(UserUnassignDeviceType, Permission.MANAGE_DEVICE_TYPE, rest=Route("DELETE", DEVICE_TYPE), audit=Written(User, "fields.user_id"))
async def user_unassign_device_type(request: Request[UserUnassignDeviceType]) -> None:
    """Take a device type from a user who may not use all. It succeeds also if the user does not have it."""
    await _change_device_types(request, Without)


async def _change_device_types(request: Request, change: type[With] | type[Without]) -> None:
    user = await find_user(request, request.fields.user_id)
    device_type = await _find(request, DEVICE_TYPES, request.fields.device_type_id)
    if user.all_device_types_available:
        raise AllDeviceTypesAllowed()
    await _change(request, user, {"device_type_ids": change(frozenset({device_type.id}))})


class UserAllowAllDeviceTypes(Fields, tag="user/allowAllDeviceTypes"):
    """``userId``."""

    user_id: Annotated[UserId | None, REQUIRED] = None


@action(UserAllowAllDeviceTypes, Permission.MANAGE_DEVICE_TYPE, rest=Route("PUT", ALL_DEVICE_TYPES), audit=Written(User, "fields.user_id"))
async def user_allow_all_device_types(request: Request[UserAllowAllDeviceTypes]) -> None:
    """Let a user use every device type, also future ones. The device types that were assigned one by one are forgotten."""
    user = await find_user(request, request.fields.user_id)
    await _change(request, user, {"all_device_types_available": True, "device_type_ids": frozenset()})


class UserDisallowAllDeviceTypes(Fields, tag="user/disallowAllDeviceTypes"):
    """``userId``."""

    user_id: Annotated[UserId | None, REQUIRED] = None


@action(
    UserDisallowAllDeviceTypes, Permission.MANAGE_DEVICE_TYPE, rest=Route("DELETE", ALL_DEVICE_TYPES), audit=Written(User, "fields.user_id")
)
async def user_disallow_all_device_types(request: Request[UserDisallowAllDeviceTypes]) -> None:
    """Take every device type from a user, who then has none until some are assigned."""
    user = await find_user(request, request.fields.user_id)
    await _change(request, user, {"all_device_types_available": False, "device_type_ids": frozenset()})

"""Devices: ``device/get``, ``list``, ``count``, ``save``, ``delete`` (WebSocket reference, section 3.4)."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from msgspec import UNSET, Meta

from dhtwisted.actions.audit import Written
from dhtwisted.actions.lists import answer_list, entity_pages
from dhtwisted.actions.lookups import accessible_device, entity_query
from dhtwisted.actions.table import Route, action
from dhtwisted.core import messages
from dhtwisted.core.access import Permission, Principal, intersect
from dhtwisted.core.event_kinds import DEVICE_ADD, DEVICE_UPDATE
from dhtwisted.core.rules import check_device_name, check_new_device_id, check_text
from dhtwisted.core.server import Request, Server
from dhtwisted.errors import (
    BadRequest,
    Duplicate,
    MissingDevice,
    MissingDeviceId,
    NoAccessToDevice,
    NoAccessToDeviceType,
    NoAccessToNetwork,
    ObjectChanged,
    Unauthorized,
)
from dhtwisted.model import Command, Device, DeviceType, EntityQuery, MessageQuery, Network, Notification, json_size
from dhtwisted.wire.envelope import encode
from dhtwisted.wire.fields import ABSENT, Fields, Integer, Members
from dhtwisted.wire.members import REQUIRED, ChangedClientData, DeviceId, ExactName, Label, More, NamePattern, Skip, SortOrder, Take
from dhtwisted.wire.payloads import payload
from dhtwisted.wire.resources import Count, DatalessDeviceResource, DeviceResource, Resource

SORT_FIELDS = {"name": "name", "network": "network_id", "devicetype": "device_type_id", "status": ""}
FORGET_SLICE = 1000
LARGE_DATA = 1024
"""Bytes of ``data`` above which ``$device-update`` carries it only when it was changed: a new name of 10 bytes would store a megabyte."""


class DeviceGet(Fields, tag="device/get"):
    """``deviceId``."""

    device_id: Annotated[DeviceId | None, REQUIRED] = None


class OneDevice(Resource):
    """The reply's member."""

    device: Annotated[DeviceResource, Meta(description="the device")]


@action(DeviceGet, Permission.GET_DEVICE, rest=Route("GET", "/device/{deviceId}"))
async def device_get(request: Request[DeviceGet]) -> OneDevice:
    """Read one device."""
    return OneDevice(device=DeviceResource.of(await accessible_device(request, request.fields.device_id)))


class DeviceCount(Fields, tag="device/count"):
    """Which devices: ``name`` (exact), ``namePattern`` (SQL LIKE), ``networkId``, ``networkName``, ``deviceTypeId``."""

    name: ExactName | None = None
    name_pattern: NamePattern | None = None
    network_id: Annotated[Integer | None, Meta(description="only in this network")] = None
    network_name: Annotated[str | None, Meta(description="only in the network with this name")] = None
    device_type_id: Annotated[Integer | None, Meta(description="only of this device type")] = None


class DeviceList(DeviceCount, tag="device/list"):
    """The same, with order and page."""

    sort_field: Annotated[
        str | None,
        Meta(
            description="what to sort by; `network` and `devicetype` sort by their ids",
            extra_json_schema={"enum": ["name", "network", "devicetype", "status"]},
        ),
    ] = None
    sort_order: SortOrder | None = None
    take: Take | None = None
    skip: Skip | None = None


class Devices(Resource):
    """The reply's member."""

    devices: Annotated[list[DeviceResource], Meta(description="the devices")]
    more: More = UNSET


@action(DeviceList, Permission.GET_DEVICE, rest=Route("GET", "/device"))
async def device_list(request: Request[DeviceList]) -> Devices:
    """List the devices that the caller may use. Without a ``sortField`` they come in order of id."""
    query = entity_query(request, SORT_FIELDS, **await _conditions(request))
    pages = entity_pages(request, Device, query, partial(_conditions, request))
    return await answer_list(request, pages, DeviceResource.of, lambda devices, more: Devices(devices=devices, more=more))


@action(DeviceCount, Permission.GET_DEVICE, rest=Route("GET", "/device/count"))
async def device_count(request: Request[DeviceCount]) -> Count:
    """Count the devices that the caller may use."""
    return Count(count=await request.server.entities.count(Device, EntityQuery(**await _conditions(request))))


async def _conditions(request: Request) -> dict[str, Any]:
    """The filters of a request within what the caller may use.

    :raises BadRequest: a pattern that is longer than any name; one of 1 MiB would take 20 s to compile.
    """
    fields, principal = request.fields, request.principal
    check_text(fields.name_pattern, "namePattern")
    networks = principal.networks()
    if fields.network_id is not None:
        networks = intersect(networks, frozenset({fields.network_id}))
    if fields.network_name is not None:
        named = await request.server.entities.find(Network, EntityQuery(equal={"name": fields.network_name}))
        networks = intersect(networks, frozenset(network.id for network in named))
    device_types = principal.device_types()
    if fields.device_type_id is not None:
        device_types = intersect(device_types, frozenset({fields.device_type_id}))
    own = None if principal.device_id is None else frozenset({principal.device_id})
    within = {"network_id": networks, "device_type_id": device_types, "id": own}
    return {
        "equal": {} if fields.name is None else {"name": fields.name},
        "like": {} if fields.name_pattern is None else {"name": fields.name_pattern},
        "within": {field: ids for field, ids in within.items() if ids is not None},
    }


class DeviceFields(Members):
    """A device in a request. Members of older versions (``id``, ``key``, ``status``, ``deviceClass``) are ignored."""

    name: Annotated[Label | None, Meta(description="name of the device. Default for a new device: its id")] = None
    data: ChangedClientData = ABSENT
    network_id: Annotated[
        Integer | None, Meta(description="id of its network. Default for a new device: the lowest one that is assigned to the user")
    ] = None
    device_type_id: Annotated[
        Integer | None, Meta(description="id of its device type. Default for a new device: the lowest one that the user may use")
    ] = None
    is_blocked: Annotated[bool | None, Meta(description="whether the device is blocked. Default for a new device: false")] = None


class DeviceSave(Fields, tag="device/save"):
    """``deviceId`` and ``device``."""

    device_id: Annotated[DeviceId | None, REQUIRED] = None
    device: Annotated[DeviceFields | None, Meta(description="the device"), REQUIRED] = None


@action(
    DeviceSave,
    Permission.REGISTER_DEVICE,
    rest=Route("PUT", "/device/{deviceId}", body="device"),
    audit=Written(Device, "fields.device_id", only_changes=True),
)
async def device_save(request: Request[DeviceSave]) -> None:
    """Create a device, or change the given members of one. The server stores a notification ``$device-add`` or ``$device-update``. It
    sends the notification to subscriptions without a device, network or device type, and to those with its name. A save that changes
    nothing has no notification. ``$device-update`` leaves out ``data`` of more than 1 KiB if it was not changed.
    """
    device_id, fields = request.fields.device_id, request.fields.device
    if not device_id:
        raise MissingDeviceId()
    check_new_device_id(device_id)
    if fields is None:
        raise MissingDevice()
    check_device_name(fields.name)
    if request.principal.device_id not in (None, device_id):
        raise NoAccessToDevice()
    device = await request.server.entities.get(Device, device_id)
    if device is None:
        try:
            await _create(request, device_id, fields)
            return
        except Duplicate:
            # Somebody else created it since we looked: then this is a change of that one.
            device = await request.server.entities.get(Device, device_id)
    if device is None:
        # And it is deleted again.
        raise ObjectChanged()
    await _change(request, device, fields)


async def _create(request: Request, device_id: str, fields: DeviceFields) -> None:
    quotas, user_id, data = request.server.quotas, request.principal.user_id, payload(fields.data, "device.data")
    device = Device(
        id=device_id,
        name=device_id if fields.name is None else fields.name,
        data=data,
        network_id=await _network(request, fields.network_id),
        device_type_id=await _device_type(request, fields.device_type_id),
        is_blocked=fields.is_blocked or False,
        owner_id=user_id,
    )
    quotas.check_device_data(data)
    quotas.store(request, device_id, json_size(data))
    async with quotas.keeping(user_id, devices=1, data=json_size(data)):
        device = await request.server.entities.insert(device)
    await _check_place(request, device)
    await _announce(request, DEVICE_ADD, DeviceResource.of(device))


async def _change(request: Request, device: Device, fields: DeviceFields) -> None:
    networks, types = _saving_networks(request.principal), request.principal.device_types()
    if not (_within(device.network_id, networks) and _within(device.device_type_id, types)):
        raise NoAccessToDevice()
    changes = {name: value for name in ("name", "is_blocked") if (value := getattr(fields, name)) is not None}
    if fields.data:
        changes["data"] = payload(fields.data, "device.data")
    if fields.network_id is not None:
        changes["network_id"] = await _network(request, fields.network_id)
    if fields.device_type_id is not None:
        changes["device_type_id"] = await _device_type(request, fields.device_type_id)
    if await request.server.entities.has(Device, device.id, changes):
        return
    leaves_out = "data" not in changes and json_size(device.data) > LARGE_DATA
    device = await _update(request, device, changes, 0 if leaves_out else json_size(changes.get("data", device.data)))
    await _check_place(request, device)
    await _announce(request, DEVICE_UPDATE, (DatalessDeviceResource if leaves_out else DeviceResource).of(device))


async def _update(request: Request, device: Device, changes: dict[str, Any], announced_size: int) -> Device:
    """Change a device within the quotas of the user who made it, and of the user whose save is announced.

    :param announced_size: bytes of ``data`` in the notification.
    """
    quotas, data = request.server.quotas, changes.get("data")
    quotas.check_device_data(data)
    quotas.store(request, device.id, announced_size)
    if "data" not in changes:
        return await request.server.entities.update(Device, device.id, changes)
    async with quotas.changing_data(request, device.owner_id, device, data):
        return await request.server.entities.update(Device, device.id, changes)


async def _check_place(request: Request, device: Device) -> None:
    """A network or device type that was deleted while the device was saved takes it along, as it did with all others."""
    get = request.server.entities.get
    if await get(Network, device.network_id) is None or await get(DeviceType, device.device_type_id) is None:
        await delete_device(request.server, device.id)
        raise BadRequest(detail="the network or device type of the device was deleted at the same time")


def _within(value: int, permitted: frozenset[int] | None) -> bool:
    return permitted is None or value in permitted


def _saving_networks(principal: Principal) -> frozenset[int] | None:
    """Networks in which the caller may save devices: those of the user if the token has no list of networks (auth reference, section 5)."""
    return principal.assigned_networks() if principal.claims.network_ids is None else principal.networks()


async def _network(request: Request, network_id: int | None) -> int:
    networks = _saving_networks(request.principal)
    if network_id is None:
        user = request.principal.user
        if user is None:
            # Deleted, or the token revoked, since the request began.
            raise Unauthorized()
        own = intersect(networks, user.network_ids)
        if not own:
            raise NoAccessToNetwork()
        return min(own)
    if await request.server.entities.get(Network, network_id) is None:
        raise BadRequest(detail="device.networkId must be the id of a network that exists")
    if not _within(network_id, networks):
        raise NoAccessToNetwork()
    return network_id


async def _device_type(request: Request, device_type_id: int | None) -> int:
    types = request.principal.device_types()
    if device_type_id is None:
        query = EntityQuery(within={} if types is None else {"id": types}, take=1)
        found = await request.server.entities.find(DeviceType, query)
        if not found:
            raise NoAccessToDeviceType()
        return found[0].id
    if await request.server.entities.get(DeviceType, device_type_id) is None:
        raise BadRequest(detail="device.deviceTypeId must be the id of a device type that exists")
    if not _within(device_type_id, types):
        raise NoAccessToDeviceType()
    return device_type_id


async def _announce(request: Request, name: str, device: DeviceResource | DatalessDeviceResource) -> None:
    """Send the notification of a device that was saved (section 4.6).

    :param device: as clients see it.
    """
    notification = Notification(
        name=name,
        device_id=device.id,
        network_id=device.network_id,
        device_type_id=device.device_type_id,
        parameters=encode(device),
    )
    await messages.announce(request, notification)


class DeviceDelete(Fields, tag="device/delete"):
    """``deviceId``."""

    device_id: Annotated[DeviceId | None, REQUIRED] = None


@action(DeviceDelete, Permission.REGISTER_DEVICE, rest=Route("DELETE", "/device/{deviceId}"), audit=Written(Device, "fields.device_id"))
async def device_delete(request: Request[DeviceDelete]) -> None:
    """Delete a device and its stored messages. Subscriptions to only this device get nothing more (section 4.5)."""
    device = await accessible_device(request, request.fields.device_id)
    await delete_device(request.server, device.id)


async def delete_device(server: Server, device_id: str) -> None:
    """Delete a device, its messages first and last: some may have been inserted meanwhile."""
    await _forget_messages(server, device_id)
    await server.entities.delete(Device, device_id)
    await _forget_messages(server, device_id)
    server.broker.drop_device(device_id)


async def _forget_messages(server: Server, device_id: str) -> None:
    query = MessageQuery(device_ids=(device_id,), take=FORGET_SLICE)
    for kind in (Command, Notification):
        while await server.messages.forget_messages(kind, query) == FORGET_SLICE:
            pass

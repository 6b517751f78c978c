"""Device types: ``devicetype/list``, ``count``, ``get``, ``insert``, ``update``, ``delete`` (WebSocket reference, section 3.8)."""

from __future__ import annotations

from operator import attrgetter
from typing import Annotated

from msgspec import UNSET, Meta

from dhtwisted.actions.audit import Written
from dhtwisted.actions.groups import GroupChange, Grouping, NewGroup
from dhtwisted.actions.table import Route, action
from dhtwisted.core.access import Permission, Principal
from dhtwisted.core.server import Request
from dhtwisted.errors import DeviceTypeNameTaken, DeviceTypeNotEmpty, DeviceTypeNotFound, MissingDeviceType, MissingDeviceTypeId
from dhtwisted.model import DeviceType
from dhtwisted.wire.fields import Fields
from dhtwisted.wire.members import REQUIRED, DeviceTypeId, ExactName, More, NamePattern, Skip, SortByIdOrName, SortOrder, Take
from dhtwisted.wire.resources import Count, GroupResource, GroupWithDevices, IdResource, Resource

DEVICE_TYPES = Grouping(
    kind=DeviceType,
    member="deviceType",
    device_field="device_type_id",
    user_field="device_type_ids",
    accessible=Principal.device_types,
    named=attrgetter("token_device_types"),
    quota="device_types",
    not_found=DeviceTypeNotFound,
    missing_id=MissingDeviceTypeId,
    missing=MissingDeviceType,
    name_taken=DeviceTypeNameTaken,
    not_empty=DeviceTypeNotEmpty,
)


class DeviceTypeCount(Fields, tag="devicetype/count"):
    """Which device types: ``name`` (exact), ``namePattern`` (SQL LIKE)."""

    name: ExactName | None = None
    name_pattern: NamePattern | None = None


class DeviceTypeList(DeviceTypeCount, tag="devicetype/list"):
    """The same, with order (``sortField``: ``id`` or ``name``) and page."""

    sort_field: SortByIdOrName | None = None
    sort_order: SortOrder | None = None
    take: Take | None = None
    skip: Skip | None = None


class DeviceTypes(Resource):
    """The reply's member."""

    device_types: Annotated[list[GroupResource], Meta(description="the device types")]
    more: More = UNSET


@action(DeviceTypeList, Permission.GET_DEVICE_TYPE, rest=Route("GET", "/devicetype"))
async def devicetype_list(request: Request[DeviceTypeList]) -> DeviceTypes:
    """List the device types that the caller may use."""
    return await DEVICE_TYPES.list(request, lambda device_types, more: DeviceTypes(device_types=device_types, more=more))


@action(DeviceTypeCount, Permission.GET_DEVICE_TYPE, rest=Route("GET", "/devicetype/count"))
async def devicetype_count(request: Request[DeviceTypeCount]) -> Count:
    """Count the device types that the caller may use."""
    return await DEVICE_TYPES.count(request)


class DeviceTypeGet(Fields, tag="devicetype/get"):
    """``deviceTypeId``."""

    device_type_id: Annotated[DeviceTypeId | None, REQUIRED] = None


class OneDeviceType(Resource):
    """The reply's member."""

    device_type: Annotated[GroupWithDevices, Meta(description="the device type")]


@action(DeviceTypeGet, Permission.GET_DEVICE_TYPE, rest=Route("GET", "/devicetype/{deviceTypeId}"))
async def devicetype_get(request: Request[DeviceTypeGet]) -> OneDeviceType:
    """Read one device type with its devices."""
    return await DEVICE_TYPES.with_devices(request, request.fields.device_type_id, lambda found: OneDeviceType(device_type=found))


class DeviceTypeInsert(Fields, tag="devicetype/insert"):
    """``deviceType``."""

    device_type: Annotated[NewGroup | None, Meta(description="the device type"), REQUIRED] = None


class InsertedDeviceType(Resource):
    """The reply's member."""

    device_type: Annotated[IdResource, Meta(description="the device type")]


@action(
    DeviceTypeInsert,
    Permission.MANAGE_DEVICE_TYPE,
    rest=Route("POST", "/devicetype", body="deviceType", status=201),
    audit=Written(DeviceType),
)
async def devicetype_insert(request: Request[DeviceTypeInsert]) -> InsertedDeviceType:
    """Create a device type. It is assigned to nobody."""
    return InsertedDeviceType(device_type=IdResource(id=(await DEVICE_TYPES.insert(request, request.fields.device_type)).id))


class DeviceTypeUpdate(Fields, tag="devicetype/update"):
    """``deviceTypeId`` and ``deviceType``."""

    device_type_id: Annotated[DeviceTypeId | None, REQUIRED] = None
    device_type: Annotated[GroupChange | None, Meta(description="the change of the device type"), REQUIRED] = None


@action(
    DeviceTypeUpdate,
    Permission.MANAGE_DEVICE_TYPE,
    rest=Route("PUT", "/devicetype/{deviceTypeId}", body="deviceType", object_first=True),
    audit=Written(DeviceType, "fields.device_type_id"),
)
async def devicetype_update(request: Request[DeviceTypeUpdate]) -> None:
    """Change the given members of a device type."""
    await DEVICE_TYPES.update(request, request.fields.device_type_id, request.fields.device_type)


class DeviceTypeDelete(Fields, tag="devicetype/delete"):
    """``deviceTypeId``; ``force``: with its devices."""

    device_type_id: Annotated[DeviceTypeId | None, REQUIRED] = None
    force: Annotated[bool | None, Meta(description="delete its devices too; without this, one that has devices is not deleted")] = None


@action(
    DeviceTypeDelete,
    Permission.MANAGE_DEVICE_TYPE,
    rest=Route("DELETE", "/devicetype/{deviceTypeId}"),
    audit=Written(DeviceType, "fields.device_type_id"),
)
async def devicetype_delete(request: Request[DeviceTypeDelete]) -> None:
    """Delete a device type. If it has devices, this needs ``force``, and deletes the devices with all their messages."""
    await DEVICE_TYPES.delete(request, request.fields.device_type_id, request.fields.force)

"""What several actions need: a device that the caller may use, pages, sorting."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any, TypeVar

from dhtwisted.core.batches import Batch
from dhtwisted.core.rules import DEVICE_ID_DETAIL
from dhtwisted.core.server import Request
from dhtwisted.errors import AccessDenied, BadRequest, DeviceBlocked, DeviceNotFound, InvalidDeviceId, InvalidSortOrder, MissingDeviceId
from dhtwisted.model import Device, EntityQuery, MessageQuery

Reply = TypeVar("Reply")

FindDevice = Callable[[Request, str | None], Awaitable[Device]]
"""Finds a device that the caller may use, or raises what refuses it."""

DEFAULT_TAKE = 100
LARGEST_SKIP = 2**53
"""A storage adds ``skip`` and ``take``, and a larger number could overflow."""


def check_device_id(device_id: str | None) -> None:
    """Refuse an id that no device can have.

    :raises MissingDeviceId: it is absent or empty.
    :raises InvalidDeviceId: it has a NUL character, which not every storage accepts.
    """
    if not device_id:
        raise MissingDeviceId()
    if "\0" in device_id:
        raise InvalidDeviceId(detail=DEVICE_ID_DETAIL)


def cached_device(request: Request | Batch, device_id: str | None) -> Device | None:
    """Find a device that the caller may use in the cache, without waiting. Nearly every message needs this.

    :returns: ``None`` if the device is not in the cache, is blocked or not permitted, or if earlier requests read from the storage. Then
        :func:`accessible_device` or :func:`writable_device` must find out.
    """
    entities = request.server.entities
    device = entities.device(device_id)
    if (
        device is None
        or entities.reading
        or device.is_blocked
        or not request.principal.sees(device.network_id, device.device_type_id, device.id)
    ):
        return None
    return device


async def accessible_device(request: Request, device_id: str | None) -> Device:
    """Find a device that the caller may use.

    :raises MissingDeviceId: there is no id.
    :raises DeviceNotFound: the device does not exist. Only callers who may use every device get this error.
    :raises AccessDenied: the device does not exist, or the caller may not use it.
    """
    check_device_id(device_id)
    principal = request.principal
    device = await request.server.entities.get(Device, device_id)
    if device is None:
        raise DeviceNotFound(device_id) if principal.unrestricted else AccessDenied()
    if not principal.sees(device.network_id, device.device_type_id, device_id):
        raise AccessDenied()
    return device


async def when_found(find: FindDevice, request: Request, go_on: Callable[[Request, Device], Reply | Awaitable[Reply]]) -> Reply:
    """Continue when a device that is not in the cache is found.

    :param find: :func:`accessible_device` or :func:`writable_device`.
    :param go_on: called with the request and the device; it returns a result or an awaitable.
    """
    outcome = go_on(request, await find(request, request.fields.device_id))
    return await outcome if isawaitable(outcome) else outcome


async def writable_device(request: Request, device_id: str | None) -> Device:
    """Find a device that the caller may use and insert messages for.

    :raises DeviceBlocked: the device is blocked and ``server.refuse_blocked_devices`` is on.
    """
    device = await accessible_device(request, device_id)
    if device.is_blocked and request.server.settings.server.refuse_blocked_devices:
        raise DeviceBlocked(device_id)
    return device


def entity_query(request: Request, sort_fields: dict[str, str], **conditions: Any) -> EntityQuery:
    """The query of a list of entities: filtered, sorted, and cut to ``skip`` and ``take``.

    Without a ``sortField`` the order is that of the key.

    :param sort_fields: ``sortField`` in lower case -> field of the entity; ``""`` for the key.
    :param conditions: ``equal``, ``like`` and ``within`` of an ``EntityQuery``.
    :raises BadRequest: an unknown ``sortField`` or ``sortOrder``, a negative ``skip`` or ``take``.
    """
    fields = request.fields
    sort = ({"": ""} | sort_fields).get((fields.sort_field or "").lower())
    if sort is None:
        raise BadRequest(detail=f"sortField must be one of {', '.join(filter(None, sort_fields))}, or left out")
    if fields.take is None:
        fields.take = request.session.conventions.entities_taken
    skip, take = _page(request)
    return EntityQuery(**conditions, sort=sort, descending=_descending(fields.sort_order), skip=skip, take=take)


def plain_query(request: Request, sort: str = "", **conditions: Any) -> EntityQuery:
    """The query of a list of which the client cannot choose the order, and that has all elements if ``take`` is absent.

    :param sort: a field; ``""`` for the key.
    :raises BadRequest: a negative ``skip`` or ``take``.
    """
    skip, take = _page(request)
    return EntityQuery(**conditions, sort=sort, skip=skip, take=take)


def _page(request: Request) -> tuple[int, int | None]:
    """``skip`` and ``take`` as they were asked for. A ``take`` of ``None`` is all. Where a list that is cut cannot say so, it is of no more
    than ``limits.list_size``.
    """
    skip, take = request.fields.skip or 0, request.fields.take
    if skip < 0 or (take is not None and take < 0):
        raise BadRequest(detail=f"{'skip' if skip < 0 else 'take'} must not be below 0")
    if take is not None and request.session.conventions.sends_portions:
        take = min(take, request.server.settings.limits.list_size or take)
    return min(skip, LARGEST_SKIP), take


def _descending(order: str | None) -> bool:
    if order and order.upper() not in ("ASC", "DESC"):
        raise InvalidSortOrder(order)
    return order is not None and order.upper() == "DESC"


def message_query(request: Request, sort_fields: dict[str, str], **conditions: Any) -> MessageQuery:
    """The stored messages that a ``command/list`` or ``notification/list`` asks for.

    Both bounds are exclusive, an unknown ``sortField`` is ignored, and a known one without ``sortOrder`` sorts descending (WebSocket
    reference, section 3.5; REST reference, section 6).

    :param sort_fields: ``sortField`` in lower case -> field of the message.
    :raises InvalidSortOrder: not over REST, where every order but ``DESC`` is ascending.
    :raises BadRequest: a negative ``skip`` or ``take``; over REST that is an empty list.
    """
    fields, conventions = request.fields, request.session.conventions
    if fields.take is None:
        fields.take = DEFAULT_TAKE
    if not conventions.refuses_pages and (fields.take < 0 or (fields.skip or 0) < 0):
        fields.skip = fields.take = 0
    skip, take = _page(request)
    sort = sort_fields.get((fields.sort_field or "").lower())
    if not fields.sort_order:
        descending = sort is not None or conventions.newest_first
    else:
        descending = _descending(fields.sort_order) if conventions.refuses_pages else fields.sort_order.upper() == "DESC"
    return MessageQuery(
        device_ids=(fields.device_id,),
        since=None if fields.start is None else fields.start + 1,
        before=fields.end,
        sort=sort or "timestamp",
        descending=descending,
        skip=skip,
        take=take,
        **conditions,
    )

"""Notifications: ``notification/insert``, ``get``, ``list`` (WebSocket reference, section 3.6)."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Annotated, Any

from msgspec import UNSET, Meta

from dhtwisted.actions.lists import answer_messages, message_pages
from dhtwisted.actions.lookups import (
    accessible_device,
    cached_device,
    check_device_id,
    message_query,
    when_found,
    writable_device,
)
from dhtwisted.actions.table import Route, action
from dhtwisted.core import messages
from dhtwisted.core.access import Permission
from dhtwisted.core.batches import Batch, Batching
from dhtwisted.core.event_kinds import NOTIFICATION_INSERTED, SERVER_MADE
from dhtwisted.core.rules import check_name
from dhtwisted.core.server import Request
from dhtwisted.errors import (
    AccessDenied,
    DeviceNotFound,
    MissingNotification,
    MissingNotificationId,
    NotificationNotFound,
    ReservedNotification,
    UnseenDeviceNotFound,
)
from dhtwisted.model import Device, Notification
from dhtwisted.wire.envelope import reply_form
from dhtwisted.wire.fields import ABSENT, Fields, Members, NotificationId, Timestamp
from dhtwisted.wire.members import (
    REQUIRED,
    DeviceId,
    MessageName,
    MessageNames,
    MessageOrder,
    MessageSkip,
    MessageTake,
    More,
    OwnTime,
    Payload,
)
from dhtwisted.wire.payloads import payload
from dhtwisted.wire.resources import NotificationResource, Resource
from dhtwisted.wire.timestamps import format_in_ascii, format_timestamp


class NewNotification(Members):
    """A new notification."""

    notification: Annotated[MessageName | None, Meta(description="name of the notification"), REQUIRED] = None
    parameters: Payload = ABSENT
    timestamp: Annotated[
        Timestamp | None,
        Meta(
            description="the notification's own time, such as the time of a measurement; it may be long ago. If it is absent, or "
            "more than a minute ahead of the server, the server uses its own time"
        ),
    ] = None


class NotificationInsert(Fields, tag="notification/insert"):
    """``deviceId`` and ``notification``."""

    device_id: Annotated[DeviceId | None, REQUIRED] = None
    notification: Annotated[NewNotification | None, Meta(description="the notification"), REQUIRED] = None


class InsertedNotificationResource(Resource):
    """The members that the server added; exactly these."""

    id: Annotated[int, Meta(description="id of the notification")]
    timestamp: OwnTime


class InsertedNotification(Resource):
    """The reply's member."""

    notification: Annotated[InsertedNotificationResource, Meta(description="the notification")]


def _new_notification(request: Request | Batch, fields: Any, device: Device) -> Notification:
    """The notification that is to be inserted, from a request that is checked here."""
    new = _checked(fields)
    if new.notification in SERVER_MADE:
        raise ReservedNotification()
    return Notification(
        name=new.notification,
        device_id=device.id,
        network_id=device.network_id,
        device_type_id=device.device_type_id,
        parameters=payload(new.parameters, "notification.parameters"),
        timestamp=None if new.timestamp is None else request.server.time_of_new(new.timestamp),
    )


def _checked(fields: NotificationInsert) -> Any:
    new = fields.notification
    if new is None:
        raise MissingNotification()
    check_name(new.notification, MissingNotification, "notification.notification")
    return new


_INSERTED = reply_form("notification/insert", b'"notification":{"id":%d,"timestamp":"%b"}')


def _encoded_replies(requests: Sequence[Fields], notifications: Sequence[Any]) -> list[bytes]:
    """The whole replies whose members :func:`_reply_insert` makes, at a third of the price."""
    return [
        _INSERTED % (fields.request_id, notification.id, format_in_ascii(notification.timestamp))
        for fields, notification in zip(requests, notifications, strict=True)
    ]


@action(
    NotificationInsert,
    Permission.CREATE_DEVICE_NOTIFICATION,
    rest=Route("POST", "/device/{deviceId}/notification", body="notification", status=201),
    overlaps=True,
    batching=Batching(NOTIFICATION_INSERTED, _new_notification, _encoded_replies),
)
def notification_insert(request: Request[NotificationInsert]) -> InsertedNotification | Awaitable[InsertedNotification]:
    """Send a notification on behalf of a device. The reply is sent when it is stored, and so is the event to subscribers."""
    device = cached_device(request, request.fields.device_id)
    if device is not None:
        return _insert(request, device)
    _checked(request.fields)
    return when_found(writable_device, request, _insert)


def _insert(request: Request, device: Device) -> InsertedNotification | Awaitable[InsertedNotification]:
    return messages.insert(request, NOTIFICATION_INSERTED, _new_notification(request, request.fields, device), _reply_insert)


def _reply_insert(notification: Notification) -> InsertedNotification:
    return InsertedNotification(
        notification=InsertedNotificationResource(id=notification.id, timestamp=format_timestamp(notification.timestamp))
    )


async def readable_device(request: Request, device_id: str | None) -> Device:
    """Find a device whose notifications the caller may read. Over WebSocket every caller gets 404 for a missing device, unlike elsewhere
    (section 2.1). But a token for one device gets 403 for all others.
    """
    check_device_id(device_id)
    if request.principal.claims.device_id not in (None, device_id):
        raise AccessDenied()
    if await request.server.entities.get(Device, device_id) is None:
        raise DeviceNotFound(device_id) if request.principal.unrestricted else UnseenDeviceNotFound(device_id)
    return await accessible_device(request, device_id)


class NotificationGet(Fields, tag="notification/get"):
    """``deviceId`` and ``notificationId``."""

    device_id: Annotated[DeviceId | None, REQUIRED] = None
    notification_id: Annotated[NotificationId | None, Meta(description="id of the notification"), REQUIRED] = None


class OneNotification(Resource):
    """The reply's member."""

    notification: Annotated[NotificationResource, Meta(description="the notification")]


@action(NotificationGet, Permission.GET_DEVICE_NOTIFICATION, rest=Route("GET", "/device/{deviceId}/notification/{notificationId}"))
async def notification_get(request: Request[NotificationGet]) -> OneNotification:
    """Read one notification."""
    fields = request.fields
    device = await readable_device(request, fields.device_id)
    if fields.notification_id is None:
        raise MissingNotificationId()
    notification = await request.server.messages.get_message(Notification, device.id, fields.notification_id)
    if notification is None:
        raise NotificationNotFound()
    return OneNotification(notification=NotificationResource.of(notification))


class NotificationList(Fields, tag="notification/list"):
    """``deviceId``, and which: ``start`` and ``end`` (exclusive), ``notification`` (one name) or ``names``."""

    device_id: Annotated[DeviceId | None, REQUIRED] = None
    start: Annotated[Timestamp | None, Meta(description="only later than this")] = None
    end: Annotated[Timestamp | None, Meta(description="only earlier than this")] = None
    notification: Annotated[str | None, Meta(description="only with this name; `names` is ignored then")] = None
    names: MessageNames | None = None
    sort_field: Annotated[str | None, Meta(description="what to sort by", extra_json_schema={"enum": ["timestamp", "notification"]})] = None
    sort_order: MessageOrder | None = None
    take: MessageTake | None = None
    skip: MessageSkip | None = None


class Notifications(Resource):
    """The reply's member."""

    notifications: Annotated[list[NotificationResource], Meta(description="the notifications")]
    more: More = UNSET


SORT_FIELDS = {"timestamp": "timestamp", "notification": "name"}


@action(NotificationList, Permission.GET_DEVICE_NOTIFICATION, rest=Route("GET", "/device/{deviceId}/notification"))
async def notification_list(request: Request[NotificationList]) -> Notifications:
    """List notifications of a device: filtered, then sorted, then cut to ``skip`` and ``take``."""
    fields = request.fields
    await readable_device(request, fields.device_id)
    names = (fields.notification,) if fields.notification else tuple(fields.names or ())
    query = message_query(request, SORT_FIELDS, names=names or None)
    pages = message_pages(request, Notification, query, readable_device)
    return await answer_messages(request, pages, lambda found, more: Notifications(notifications=found, more=more))

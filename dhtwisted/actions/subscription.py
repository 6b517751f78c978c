"""Subscriptions: ``command/subscribe``, ``notification/subscribe``, their ends, ``subscription/list`` (WebSocket reference, section 4)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from msgspec import UNSET, Meta
from msgspec.structs import replace

from dhtwisted.actions.lists import Given, answer_list
from dhtwisted.actions.lookups import accessible_device, plain_query
from dhtwisted.actions.table import action
from dhtwisted.core.access import Permission
from dhtwisted.core.client import ISubscriber
from dhtwisted.core.event_kinds import COMMAND_INSERTED, COMMAND_UPDATED, NOTIFICATION_INSERTED, EventKind
from dhtwisted.core.replay import Replay
from dhtwisted.core.rules import check_text
from dhtwisted.core.server import Request, Server
from dhtwisted.core.subscription import Subscription
from dhtwisted.errors import (
    AccessDenied,
    ApiError,
    BadRequest,
    DeviceTypesNotFound,
    MissingDeviceId,
    NetworksNotFound,
    NothingAccessible,
    SubscriptionNotFound,
    TooManyRequests,
)
from dhtwisted.model import Command, DeviceType, EntityQuery, MessageQuery, Network, Notification
from dhtwisted.wire.fields import MAX_SUBSCRIPTION_LIST, NULL, Fields, Integer, Timestamp
from dhtwisted.wire.members import AT_MOST, DeviceId, MessageNames, More, Skip, TakeOfAll, Time
from dhtwisted.wire.resources import Resource
from dhtwisted.wire.timestamps import format_timestamp


class NotificationSubscribe(Fields, tag="notification/subscribe"):
    """Which messages: ``deviceId`` (or the older ``deviceIds``), ``networkIds``, ``deviceTypeIds``, ``names``.

    With ``timestamp``, stored messages from that time on are sent first, at most the newest ``limit`` of them.
    """

    device_id: DeviceId | None = None
    device_ids: Annotated[
        list[DeviceId] | None, Meta(description="the older form of `deviceId`; ignored if `deviceId` is given", extra_json_schema=AT_MOST)
    ] = None
    network_ids: Annotated[list[Integer] | None, Meta(description="only from these networks", extra_json_schema=AT_MOST)] = None
    device_type_ids: Annotated[list[Integer] | None, Meta(description="only from these device types", extra_json_schema=AT_MOST)] = None
    names: Annotated[MessageNames | None, Meta(description="only with one of these names", extra_json_schema=AT_MOST)] = None
    timestamp: Annotated[
        Timestamp | None,
        Meta(
            description="first send the stored messages from this time on; a time that the client of a message gave counts. "
            "Default: send none of them"
        ),
    ] = None
    limit: Annotated[
        Integer | None, Meta(description="send at most so many stored messages, the newest", extra_json_schema={"minimum": 0})
    ] = None


class CommandSubscribe(NotificationSubscribe, tag="command/subscribe"):
    """Which commands, as in ``notification/subscribe``; ``returnUpdatedCommands``: only updates instead of only inserts."""

    return_updated_commands: Annotated[bool | None, Meta(description="send updates of commands instead of new commands")] = None


class Subscribed(Resource):
    """The reply's member: a positive integer below 2**53."""

    subscription_id: Annotated[int, Meta(description="id of the subscription; every event has it")]


@action(CommandSubscribe, Permission.GET_DEVICE_COMMAND)
async def command_subscribe(request: Request[CommandSubscribe]) -> Subscribed:
    """Subscribe to commands, of a device, of networks, of device types, or all that are accessible."""
    return await _subscribe(request, COMMAND_UPDATED if request.fields.return_updated_commands else COMMAND_INSERTED)


@action(NotificationSubscribe, Permission.GET_DEVICE_NOTIFICATION)
async def notification_subscribe(request: Request[NotificationSubscribe]) -> Subscribed:
    """Subscribe to notifications, of a device, of networks, of device types, or all that are accessible.

    ``$device-add`` and ``$device-update``, which the server makes when a device is saved, come only to subscriptions that name neither
    device, network nor device type, and to those that list them in ``names``.
    """
    return await _subscribe(request, NOTIFICATION_INSERTED)


async def _subscribe(request: Request, kind: EventKind) -> Subscribed:
    fields, server, session = request.fields, request.server, ISubscriber(request.session)
    limit = server.settings.limits.subscriptions_per_connection
    if limit and len(session.subscriptions) >= limit:
        request.server.metrics.refused("subscriptions_per_connection")
        raise TooManyRequests(detail=f"this connection already has {limit} subscriptions (limits.subscriptions_per_connection)")
    await check_filters(request)
    if request.principal.networks() == frozenset() or request.principal.device_types() == frozenset():
        raise NothingAccessible()
    since = await _since(request, kind.message_kind)
    request.check_in_time()
    conditions = _shared(session, filters(request))
    subscription = Subscription(
        session,
        request.principal,
        server.next_subscription_id(),
        kind,
        **conditions,
        # Without the members that refer to the message: they would keep it in memory as long as the subscription.
        echo=replace(fields, request_id=NULL, token=None),
    )
    _check_weight(server, session, subscription)
    if fields.timestamp is None:
        session.subscribe(subscription)
    else:
        session.subscribe(subscription, _replay(request, subscription, since))
        request.then = lambda: session.start_replay(subscription)
    return Subscribed(subscription_id=subscription.id)


SETS = ("device_ids", "network_ids", "device_type_ids", "names")


def _shared(session: ISubscriber, conditions: dict[str, Any]) -> dict[str, Any]:
    """The conditions of a subscription. Subscriptions of one session share equal sets."""
    known = {each: each for other in session.subscriptions.values() for name in SETS if (each := getattr(other, name)) is not None}
    return {name: known.get(value, value) for name, value in conditions.items()}


def _check_weight(server: Server, session: ISubscriber, subscription: Subscription) -> None:
    """Refuse a subscription that would make a connection use too much memory.

    :raises TooManyRequests: all subscriptions of the connection name more than ``limits.subscribed_names``.
    """
    limit = server.settings.limits.subscribed_names
    if limit and subscription.id_count + sum(other.id_count for other in session.subscriptions.values()) > limit:
        server.metrics.refused("subscribed_names")
        detail = f"the subscriptions of this connection name more than {limit} devices, networks, device types and names"
        raise TooManyRequests(detail=f"{detail} (limits.subscribed_names)")


def filters(request: Request) -> dict[str, Any]:
    """The conditions of a subscription or poll for the broker; an empty list is no condition. A caller with the token of a device gets only
    messages of that device, whatever the request names.
    """
    fields, own = request.fields, request.principal.device_id
    given = {
        "device_ids": [own] if own is not None else [fields.device_id] if fields.device_id is not None else fields.device_ids,
        "network_ids": fields.network_ids,
        "device_type_ids": fields.device_type_ids,
        "names": fields.names,
    }
    names_places = bool(fields.device_id is not None or fields.device_ids or fields.network_ids or fields.device_type_ids)
    return {name: frozenset(values) if values else None for name, values in given.items()} | {"names_places": names_places}


async def check_filters(request: Request) -> None:
    """Refuse filters that name missing entities, or entities that the caller may not see (section 4.1)."""
    fields, principal = request.fields, request.principal
    lists = {
        "deviceIds": fields.device_ids,
        "networkIds": fields.network_ids,
        "deviceTypeIds": fields.device_type_ids,
        "names": fields.names,
    }
    for member, values in lists.items():
        if values and len(values) > MAX_SUBSCRIPTION_LIST:
            raise BadRequest(detail=f"{member} must have at most {MAX_SUBSCRIPTION_LIST} elements")
    if fields.limit is not None and fields.limit < 0:
        raise BadRequest(detail="limit must not be below 0")
    for index, name in enumerate(fields.names or ()):
        check_text(name, f"names[{index}]")
    if fields.device_id == "":
        raise MissingDeviceId()
    await _check_ids(request, Network, fields.network_ids, principal.networks(), NetworksNotFound)
    await _check_ids(request, DeviceType, fields.device_type_ids, principal.device_types(), DeviceTypesNotFound)
    for device_id in [fields.device_id] if fields.device_id is not None else fields.device_ids or ():
        await accessible_device(request, device_id)


async def _check_ids(
    request: Request, kind: type, ids: list[int] | None, permitted: frozenset[int] | None, not_found: Callable[[list[int]], ApiError]
) -> None:
    if not ids:
        return
    if permitted is not None and not permitted.issuperset(ids):
        if not request.principal.is_administrator:
            raise AccessDenied()
        if await _all_exist(request, kind, ids):
            raise AccessDenied()
        raise not_found(ids)
    if not await _all_exist(request, kind, ids):
        raise not_found(ids) if request.principal.is_administrator else AccessDenied()


async def _all_exist(request: Request, kind: type, ids: list[int]) -> bool:
    wanted = frozenset(ids)
    return await request.server.entities.count(kind, EntityQuery(within={"id": wanted})) == len(wanted)


async def _since(request: Request, kind: type) -> int | None:
    """The time from which stored messages are sent; ``None`` for none.

    The client may continue from a message that another client dated ahead of the server's clock. Messages stored after that one have
    earlier times, so all messages from its arrival on are sent.
    """
    server, since = request.server, request.fields.timestamp
    if since is None or since <= server.now():
        return since
    found = await server.messages.find_messages(kind, MessageQuery(since=since, before=since + 1, take=1))
    return min(since, found[0].arrived) if found else since


def _replay(request: Request, subscription: Subscription, since: int | None) -> Replay:
    query = MessageQuery(
        device_ids=None if subscription.device_ids is None else tuple(subscription.device_ids),
        names=None if subscription.names is None else tuple(subscription.names),
        updated=subscription.kind.is_update,
        since=since,
    )
    return Replay(request.server, subscription, query, request.fields.limit, request.server.now())


class CommandUnsubscribe(Fields, tag="command/unsubscribe"):
    """``subscriptionId``; absent: all of this kind."""

    subscription_id: Annotated[Integer | None, Meta(description="id of the subscription. Default: all subscriptions to commands")] = None


class NotificationUnsubscribe(Fields, tag="notification/unsubscribe"):
    """``subscriptionId``; absent: all of this kind."""

    subscription_id: Annotated[Integer | None, Meta(description="id of the subscription. Default: all subscriptions to notifications")] = (
        None
    )


@action(CommandUnsubscribe, Permission.GET_DEVICE_COMMAND)
async def command_unsubscribe(request: Request[CommandUnsubscribe]) -> None:
    """End one subscription to commands of this connection, or all of them. Nothing of it follows the reply."""
    _unsubscribe(request, Command)


@action(NotificationUnsubscribe, Permission.GET_DEVICE_NOTIFICATION)
async def notification_unsubscribe(request: Request[NotificationUnsubscribe]) -> None:
    """End one subscription to notifications of this connection, or all of them. Nothing of it follows the reply."""
    _unsubscribe(request, Notification)


def _unsubscribe(request: Request, message_kind: type) -> None:
    session, subscription_id = ISubscriber(request.session), request.fields.subscription_id
    subscriptions = [subscription for subscription in session.subscriptions.values() if subscription.kind.message_kind is message_kind]
    if subscription_id is not None:
        subscriptions = [subscription for subscription in subscriptions if subscription.id == subscription_id]
        if not subscriptions:
            raise SubscriptionNotFound(subscription_id)
    for subscription in subscriptions:
        session.unsubscribe(subscription)


class SubscriptionList(Fields, tag="subscription/list"):
    """``type``: ``command`` or ``notification``; absent: both. ``take`` and ``skip`` select a page."""

    type: Annotated[str | None, Meta(description="only subscriptions to this: `command` or `notification`")] = None
    take: TakeOfAll | None = None
    skip: Skip | None = None


class SubscriptionResource(Resource):
    """A subscription with its filter as the client gave it (section 5.9)."""

    subscription_id: Annotated[int, Meta(description="id of the subscription; every event has it")]
    type: Annotated[str, Meta(description="`command` or `notification`")]
    device_id: DeviceId | None
    network_ids: Annotated[list[int] | None, Meta(description="only from these networks", extra_json_schema=AT_MOST)]
    device_type_ids: Annotated[list[int] | None, Meta(description="only from these device types", extra_json_schema=AT_MOST)]
    names: MessageNames | None
    timestamp: Annotated[Time | None, Meta(description="the time in the request")]


class Subscriptions(Resource):
    """The reply's member."""

    subscriptions: Annotated[list[SubscriptionResource], Meta(description="the subscriptions of this connection")]
    more: More = UNSET


@action(SubscriptionList, Permission.GET_DEVICE_COMMAND, Permission.GET_DEVICE_NOTIFICATION)
async def subscription_list(request: Request[SubscriptionList]) -> Subscriptions:
    """List this connection's subscriptions of the kinds that the token may read."""
    principal, wanted = request.principal, request.fields.type
    query = plain_query(request)
    found = [
        subscription
        for subscription in ISubscriber(request.session).subscriptions.values()
        if wanted in (None, subscription.kind.message_kind.KIND) and principal.permits(subscription.kind.permission)
    ]
    pages = Given(found[query.skip :][: query.take])
    return await answer_list(request, pages, _present, lambda found, more: Subscriptions(subscriptions=found, more=more))


def _present(subscription: Subscription) -> SubscriptionResource:
    fields = subscription.echo
    return SubscriptionResource(
        subscription_id=subscription.id,
        type=subscription.kind.message_kind.KIND,
        device_id=fields.device_id,
        network_ids=fields.network_ids,
        device_type_ids=fields.device_type_ids,
        names=fields.names,
        timestamp=None if fields.timestamp is None else format_timestamp(fields.timestamp),
    )

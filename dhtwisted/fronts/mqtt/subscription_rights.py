"""Whether a client may subscribe to events: the same rights as for a subscription over a WebSocket, except that a device may subscribe
before it exists.

Many devices subscribe once, when they connect, and before their first message. A SUBSCRIBE creates no device, since programs subscribe too,
and not only to what exists. It is granted to whoever could create the device. This tells no more than an attempt to create it would, and
gives nothing: each event is checked when it goes out, so that nobody hears a device that somebody else has created elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dhtwisted.actions import ACTIONS
from dhtwisted.actions.subscription import CommandSubscribe, NotificationSubscribe, check_filters
from dhtwisted.core.access import Permission
from dhtwisted.core.rules import DEVICE_ID
from dhtwisted.core.server import Request
from dhtwisted.errors import ApiError, NothingAccessible, StorageError
from dhtwisted.fronts.mqtt.event_filters import WantedEvents, check_levels
from dhtwisted.fronts.mqtt.event_topics import NOTIFICATIONS
from dhtwisted.fronts.mqtt.interfaces import Refusal
from dhtwisted.fronts.mqtt.mappings import MappedCommands
from dhtwisted.fronts.mqtt.refusals import refusal_of
from dhtwisted.model import Device

Mapped = Sequence[tuple[WantedEvents, MappedCommands]]


async def check_rights(session: Any, events: Sequence[WantedEvents], mapped: Mapped) -> tuple[list[WantedEvents], Refusal | None]:
    """Find out which of the wanted events a client may have.

    :returns: these, and why it may not have others; ``None`` if it may have all.
    """
    permitted, refusal = [], None
    asked = [(wanted, False) for wanted in events] + [(wanted, one.is_created) for wanted, one in mapped]
    for wanted, is_created in asked:
        refused = check_levels(wanted) or await _check(session, wanted, is_created)
        if refused is None:
            permitted.append(wanted)
        else:
            refusal = refused
    return permitted, refusal


async def _check(session: Any, wanted: WantedEvents, is_created: bool) -> Refusal | None:
    principal: Any = session.principal
    server = session.server
    network, device_type, device, name = wanted.named
    kind: Any = NotificationSubscribe if wanted.flow is NOTIFICATIONS else CommandSubscribe
    fields = kind(
        device_id=device,
        network_ids=[int(network)] if network is not None and device is None else None,
        device_type_ids=[int(device_type)] if device_type is not None and device is None else None,
        names=None if name is None else [name],
    )
    action = ACTIONS[kind.__struct_config__.tag]
    request = Request(server, session, action, fields, principal)
    try:
        server.check(action, principal)
        if principal.networks() == frozenset() or principal.device_types() == frozenset():
            raise NothingAccessible()
        if device is not None and _may_create(principal, device, is_created) and await server.entities.get(Device, device) is None:
            fields.device_id = None
        await check_filters(request)
        server.quotas.check(principal.account, subscriptions=1)
    except (ApiError, StorageError) as error:
        return refusal_of(server.failed(error, request))
    return None


def _may_create(principal: Any, device_id: str, is_created: bool) -> bool:
    """Whether the client could create a device: the one that its token is for, or one that a mapping creates.

    :param is_created: whether a mapping does.
    """
    if DEVICE_ID.fullmatch(device_id) is None or principal.device_id not in (None, device_id):
        return False
    return (is_created or principal.device_id is not None) and principal.permits(Permission.REGISTER_DEVICE)

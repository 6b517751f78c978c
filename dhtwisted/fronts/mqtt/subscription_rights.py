"""Whether a client may subscribe to events: the same rights as for a subscription over a WebSocket."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dhtwisted.actions import ACTIONS
from dhtwisted.actions.subscription import CommandSubscribe, NotificationSubscribe, check_filters
from dhtwisted.core.server import Request
from dhtwisted.errors import ApiError, NothingAccessible, StorageError
from dhtwisted.fronts.mqtt.event_filters import WantedEvents, check_levels
from dhtwisted.fronts.mqtt.event_topics import NOTIFICATIONS
from dhtwisted.fronts.mqtt.interfaces import Refusal
from dhtwisted.fronts.mqtt.mappings import MappedCommands
from dhtwisted.fronts.mqtt.refusals import refusal_of

Mapped = Sequence[tuple[WantedEvents, MappedCommands]]


async def check_rights(session: Any, events: Sequence[WantedEvents], mapped: Mapped) -> tuple[list[WantedEvents], Refusal | None]:
    """Find out which of the wanted events a client may have.

    :returns: these, and why it may not have others; ``None`` if it may have all.
    """
    permitted, refusal = [], None
    for wanted in (*events, *(one for one, _ in mapped)):
        refused = check_levels(wanted) or await _check(session, wanted)
        if refused is None:
            permitted.append(wanted)
        else:
            refusal = refused
    return permitted, refusal


async def _check(session: Any, wanted: WantedEvents) -> Refusal | None:
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
        await check_filters(request)
        server.quotas.check(principal.account, subscriptions=1)
    except (ApiError, StorageError) as error:
        return refusal_of(server.failed(error, request))
    return None

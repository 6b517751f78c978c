"""What a client has missed for good: events that were deleted before it came back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dhtwisted.fronts.mqtt.event_topics import UPDATES, Flow
from dhtwisted.model import MessageQuery

if TYPE_CHECKING:
    from dhtwisted.core.server import Server


async def find_gap(server: Server, flow: Flow, start: int, since: int) -> dict[str, Any] | None:
    """Find out whether events behind a place may have been deleted, since they were too old (``storage.retention``).

    Events of other clients count too: nobody knows any more whose they were.

    :param start: the number of the last event that the client has.
    :param since: later ones have no earlier time than this, in milliseconds.
    :returns: what to tell the client; ``None`` if nothing is missing.
    """
    lifetime = int(server.settings.storage.retention * 1000)
    if not lifetime or since > server.now() - lifetime or server.bus_receiver.highest(flow.kind) <= start:
        return None
    found: list[Any] = await server.messages.find_messages(flow.kind.message_kind, MessageQuery(by_arrival=True, take=1))
    oldest = found[0] if found else None
    if oldest is not None and (oldest.arrived <= since if flow is UPDATES else oldest.id <= start + 1):
        return None
    gap = {"action": "gap", "event": flow.kind.name}
    return gap if flow is UPDATES else gap | {"after": start, "before": None if oldest is None else oldest.id}

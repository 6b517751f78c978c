"""One subscription: which events it wants, and on whose behalf (WebSocket reference, section 4.2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dhtwisted.core.access import Principal
from dhtwisted.core.event_kinds import SERVER_MADE, EventKind
from dhtwisted.model import Message, Notification
from dhtwisted.wire.events import event_prefix


class Subscription:
    """One subscription of one session.

    :param names_places: whether the client named devices, networks or device types.
    :ivar session: the session, or the :class:`~dhtwisted.core.polls.Poll`, that gets the events.
    :ivar kind: which events it wants.
    :ivar device_ids: only of these devices, whatever their networks and types. ``None`` when the client named none, like the next three.
    :ivar echo: the filter as the client gave it, for ``subscription/list``.
    :ivar principal: on whose behalf: of the request, which may have carried a token of its own, until the next ``authenticate``.
    :ivar is_filtered: whether it has filters besides its devices.
    :ivar wants_server_made: whether it takes notifications with names of :data:`~dhtwisted.core.event_kinds.SERVER_MADE`, if its filters
        match. A subscription that names devices, networks or types does not get them, unless its ``names`` list them: clients ask for the
        messages of devices, fail over others, and one that saves its device at each notification would never end (section 4.6).
    :ivar replay: gets the events while stored messages are still being sent; ``None`` when the subscription is live.
    :ivar send: gets prefix and body of an event when it can go straight to the client; ``None`` when the session decides.
    """

    __slots__ = (
        "device_ids",
        "device_type_ids",
        "echo",
        "id",
        "is_filtered",
        "kind",
        "names",
        "network_ids",
        "prefix",
        "principal",
        "replay",
        "send",
        "session",
        "wants_server_made",
    )

    def __init__(
        self,
        session: Any,
        principal: Principal,
        subscription_id: int,
        kind: EventKind,
        device_ids: frozenset[str] | None,
        network_ids: frozenset[int] | None,
        device_type_ids: frozenset[int] | None,
        names: frozenset[str] | None,
        names_places: bool = True,
        echo: Any = None,
    ) -> None:
        self.session = session
        self.principal = principal
        self.id = subscription_id
        self.kind = kind
        self.device_ids = device_ids
        self.network_ids = network_ids
        self.device_type_ids = device_type_ids
        self.names = names
        self.echo = echo
        self.prefix = event_prefix(kind.name, subscription_id)
        self.replay: Any = None
        self.send: Callable[[bytes, bytes], None] | None = None
        self.wants_server_made = names is not None or not names_places or kind.message_kind is not Notification
        self.is_filtered = names is not None or (device_ids is None and (network_ids is not None or device_type_ids is not None))

    def matches(self, message: Message, network_id: int, device_type_id: int) -> bool:
        """Whether the subscription wants a message and may still have it.

        :param network_id: where the device of the message is now; ``device_type_id`` likewise.
        """
        if self.device_ids is not None and message.device_id not in self.device_ids:
            return False
        if not self.passes_filters(message, network_id, device_type_id):
            return False
        return self.principal.receives((self.kind.permission, network_id, device_type_id))

    def passes_filters(self, message: Message, network_id: int, device_type_id: int) -> bool:
        """Whether a message passes all filters but that of the devices."""
        if self.names is not None and message.name not in self.names:
            return False
        if not self.wants_server_made and message.name in SERVER_MADE:
            return False
        if self.device_ids is not None:
            return True
        return (self.network_ids is None or network_id in self.network_ids) and (
            self.device_type_ids is None or device_type_id in self.device_type_ids
        )

    @property
    def id_count(self) -> int:
        """How many devices, networks, types and names it names together; each takes about 250 bytes."""
        return sum(len(ids) for ids in (self.device_ids, self.network_ids, self.device_type_ids, self.names) if ids)

    @property
    def names_devices(self) -> bool:
        """Whether the client named devices. If not, :attr:`device_ids` is the only device of its token. A poll, which ends soon, counts as
        one that named devices.
        """
        echo = self.echo
        return echo is None or echo.device_id is not None or bool(echo.device_ids)

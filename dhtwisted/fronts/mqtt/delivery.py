"""One message on its way to one client with QoS 1 or 2."""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from dhtwisted.fronts.mqtt.message import Message
from dhtwisted.model.mqtt import WAITS


class Delivery(Struct, gc=False, eq=False):
    """One message for one session with QoS 1 or 2.

    :ivar identifiers: the subscription identifiers of the filters that it matches.
    :ivar packet_id: given at once, so that it is stored with the message.
    :ivar state: :data:`~dhtwisted.model.mqtt.WAITS`, :data:`~dhtwisted.model.mqtt.SENT` or :data:`~dhtwisted.model.mqtt.RELEASED`.
    :ivar number: of its record in the storage; 0 if it has none.
    :ivar is_held: it is being stored, and may not leave before that.
    :ivar is_counted: it takes room of the receive maximum of the present connection ([MQTT-3.3.4-9]).
    :ivar token: of an event of ``dh/``, for its acknowledgement; ``None`` for a plain message.
    :ivar share: the shared filter by which the session was chosen; empty for any other.
    :ivar size: bytes that it counts for the bounds of the session.
    :ivar is_unread: its content is in the storage alone: the session has no connection.
    """

    message: Message
    qos: int
    retain: bool
    identifiers: tuple[int, ...]
    packet_id: int
    state: int = WAITS
    number: int = 0
    is_held: bool = False
    is_counted: bool = False
    token: Any = None
    share: str = ""
    size: int = 0
    is_unread: bool = False

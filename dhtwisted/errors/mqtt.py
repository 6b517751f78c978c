"""The error of an MQTT client that breaks the protocol."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:  # The process that writes a storage file starts faster without these modules.
    from collections.abc import Sequence
    from typing import Any


class InvalidPacket(Exception):
    """A packet that no client may send. It ends the connection.

    :ivar reason_code: of MQTT 5.0, which says what is wrong (:class:`dhtwisted.wire.mqtt.reasons.ReasonCode`).
    :ivar text: a sentence for the author of the client: which packet and what about it. It never contains what the client sent.
    :ivar version: the form in which an answer can be read: 3, 4 or 5. ``None`` if no CONNECT told it; then there is no answer.
    :ivar packets: the good packets that came before it in the same data, which are still to be handled.
    """

    def __init__(self, reason_code: int, text: str, *, version: int | None = None, packets: Sequence[Any] = ()) -> None:
        super().__init__(text)
        self.reason_code = reason_code
        self.text = text
        self.version = version
        self.packets = packets

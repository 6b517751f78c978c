"""Shows what is sent to a client that ``log.trace`` follows. Nothing is here for the others."""

from __future__ import annotations

from typing import Any

from dhtwisted.wire.mqtt.packets import V5
from dhtwisted.wire.mqtt.replies import ReplyDecoder


def follow(connection: Any) -> None:
    """Begin to show what is sent to a client, or no longer do so, as ``log.trace`` says now.

    :param connection: an :class:`~dhtwisted.fronts.mqtt.connection.MqttConnection`.
    """
    trace, output = connection.broker.server.trace, connection.output
    is_followed = trace is not None and trace.follows(connection.principal, output.address)
    if is_followed and type(output) is not TracedOutput:
        connection.output = TracedOutput(connection, output)
    elif not is_followed and type(output) is TracedOutput:
        connection.output = output.bare


class TracedOutput:
    """Stands in the way to a client.

    :ivar bare: the way itself, an :class:`~dhtwisted.fronts.mqtt.interfaces.IMqttOutput`.
    """

    def __init__(self, connection: Any, bare: Any) -> None:
        self._connection = connection
        self.bare = bare

    def write(self, data: bytes) -> None:
        """Show the packets, then send them."""
        connection = self._connection
        trace = connection.broker.server.trace
        if trace is not None:
            trace.packets_sent(connection, ReplyDecoder(connection.version or V5).feed(data))
        self.bare.write(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.bare, name)

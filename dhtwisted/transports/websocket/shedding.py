"""What an open WebSocket can do without: each may be open for weeks, and there may be ten thousand.

Autobahn gives a connection eighty attributes. Most are about the handshake, or say that nothing has gone wrong. An attribute that is not in
the object is looked up in its class; so the class has these values, and the object only what differs. Beyond 42 attributes a dict needs
twice the memory: 0.8 KB more.

This depends on names of Autobahn. A name that it does not have is not found in the object, and a value that differs stays there.
"""

from __future__ import annotations

from typing import Any


class _Unwatched:
    """Replaces the Deferreds that Autobahn fires when a connection has opened and closed: nobody waits for them."""

    def callback(self, value: object) -> None:
        """Do nothing."""


_FOR_HANDSHAKE: dict[str, Any] = dict.fromkeys(
    (
        *("_transport_details", "_wskey", "client", "http_headers", "http_request_data", "http_request_host", "http_request_params"),
        *("http_request_path", "http_request_uri", "http_response_data", "http_status_line", "websocket_extensions"),
        *("websocket_extensions_in_use", "websocket_origin", "websocket_protocol_in_use", "websocket_protocols"),
        # For chopped writes and for listeners, which this server does not use.
        *("send_queue", "_results", "_valid_events"),
    )
) | dict.fromkeys(("is_open", "is_closed"), _Unwatched())
"""What the handshake needs -> what takes its place."""

_UNEVENTFUL: dict[str, Any] = (
    dict.fromkeys(
        (
            *("_perMessageCompress", "autoPingPending", "autoPingPendingCall", "autoPingPendingSent", "autoPingTimeoutCall"),
            *("closeHandshakeTimeoutCall", "localCloseCode", "localCloseReason", "openHandshakeTimeoutCall", "remoteCloseCode"),
            *("remoteCloseReason", "trackedTimings", "wasNotCleanReason"),
        )
    )
    | dict.fromkeys(
        (
            *("closedByMe", "droppedByMe", "failedByMe", "follows_requests", "triggered", "wasClean", "wasCloseHandshakeTimeout"),
            *("wasMaxFramePayloadSizeExceeded", "wasMaxMessagePayloadSizeExceeded", "wasOpenHandshakeTimeout"),
            *("wasServerConnectionDropTimeout", "wasServingFlashSocketPolicyFile"),
        ),
        False,
    )
    | dict.fromkeys(("autoPingPendingSeq", "send_state"), 0)
)
"""What a connection has at which nothing has happened."""

SHARED = _FOR_HANDSHAKE | _UNEVENTFUL
"""Attributes for the class of all connections."""

_OTHER = object()


def shed(connection: Any) -> None:
    """Drop from an object what it has in common with its class, which has :data:`SHARED`; to be called when the connection has opened."""
    connection.__dict__ = {
        name: value for name, value in vars(connection).items() if name not in _FOR_HANDSHAKE and value is not _UNEVENTFUL.get(name, _OTHER)
    }

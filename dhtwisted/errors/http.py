"""Errors that only HTTP has: in methods, heads, bodies, and in the handshake of a WebSocket."""

from dhtwisted.errors.api import ApiError
from dhtwisted.errors.not_found import NotFound
from dhtwisted.errors.requests import BadRequest


class UnclearForwarding(BadRequest):
    """A trusted proxy passes on forwarding headers from which the client cannot be identified."""

    text = (
        "Forwarded cannot be read, or names another client than X-Forwarded-For. "
        "The proxy must overwrite or remove what clients send in these headers."
    )


class NoSuchPath(NotFound):
    """REST has nothing at this path."""

    text = "HTTP 404 Not Found"


class MethodNotAllowed(ApiError):
    """REST has this path, but not for this method."""

    code = 405
    text = "HTTP 405 Method Not Allowed"
    detail = "this path does not have this method; the header Allow lists those that it has"


class UpgradeRequired(ApiError):
    """A plain HTTP request for a path of the WebSocket."""

    code = 426
    text = (
        "This path is for WebSockets, and the request does not ask for one (Upgrade: websocket). "
        "If a proxy is in between, it must pass on the headers Upgrade and Connection."
    )


class UnknownWebSocketVersion(UpgradeRequired):
    """A WebSocket handshake with an unsupported version, or without a version (RFC 6455, section 4.4)."""

    text = "The handshake must have the header Sec-WebSocket-Version, once, with 13."


class HttpVersionTooOld(ApiError):
    """A WebSocket handshake over HTTP/1.0, which some proxies use by default."""

    code = 505
    text = (
        "A WebSocket needs HTTP/1.1, and this came by HTTP/1.0. If a proxy is in between, have it use 1.1 (nginx: proxy_http_version 1.1)."
    )


class HandshakeMethod(ApiError):
    """A WebSocket handshake with another method than GET."""

    code = 405
    text = "A WebSocket is opened with the method GET."


class HandshakeFault(BadRequest):
    """A WebSocket handshake with a missing part. The text names it."""


class BodyTooLarge(ApiError):
    """A REST request with a body above ``limits.message_size``.

    :param size: that limit, in bytes.
    """

    code = 413
    text = "HTTP 413 Content Too Large"

    def __init__(self, size: int) -> None:
        super().__init__(detail=f"the body must have at most {size} bytes (limits.message_size)")


class RequestTimeout(ApiError):
    """A request, or its body, did not arrive in time."""

    code = 408
    text = "HTTP 408 Request Timeout"


class HeadTooLarge(ApiError):
    """The head of a request is too long."""

    code = 431
    text = "HTTP 431 Request Header Fields Too Large"
    detail = "the path, query and headers of a request must have at most 16384 bytes together"


class MalformedHttp(ApiError):
    """The received bytes are not HTTP."""

    code = 400
    text = "HTTP 400 Bad Request"


class UnsupportedMediaType(ApiError):
    """A REST request whose Content-Type is not that of JSON."""

    code = 415
    text = "HTTP 415 Unsupported Media Type"
    detail = "the body must be JSON, and its Content-Type application/json"

"""The beginning of every HTTP answer of the port, and whole answers for refused connections."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from twisted.web.http import datetimeToString

from dhtwisted.fronts.rest.answers import error_answer, retry_line

if TYPE_CHECKING:
    from dhtwisted.errors import ApiError

JSON, TEXT = b"application/json", b"text/plain; charset=utf-8"

REASONS = {int(status): status.phrase.encode() for status in HTTPStatus} | {413: b"Content Too Large"}
"""Status -> reason phrase, from RFC 9110 and RFC 6585. Twisted's table lacks 426, 429 and 431; older Pythons name 413 differently."""

ERROR_LINES = {
    401: b"WWW-Authenticate: Bearer\r\n",
    426: b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
}
"""Status -> the header lines that it requires (RFC 9110, sections 15.5.2 and 15.5.22; RFC 6455, section 4.4)."""


def answer_head(status: int, body: bytes | None, content_type: bytes = JSON) -> bytes:
    """The status line and the headers about the body; without a body there are no such headers (RFC 9110, section 8.6)."""
    head = b"HTTP/1.1 %d %b\r\nDate: %b\r\n" % (status, REASONS.get(status, b""), datetimeToString())
    if body is not None:
        head += b"Content-Type: %b\r\nContent-Length: %d\r\n" % (content_type, len(body))
    return head + ERROR_LINES.get(status, b"")


def refusal(error: ApiError, headers: bytes = b"") -> bytes:
    """A whole answer with an error. It says that the connection is closed after it.

    :param error: an :class:`~dhtwisted.errors.ApiError`.
    :param headers: further lines, each with its end.
    """
    status, body = error_answer(error)
    connection = b"Connection: Upgrade, close\r\n" if status == HTTPStatus.UPGRADE_REQUIRED else b"Connection: close\r\n"
    return answer_head(status, body) + retry_line(error) + headers + connection + b"\r\n" + body

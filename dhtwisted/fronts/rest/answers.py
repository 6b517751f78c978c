"""What REST answers: the status, headers and body of a success or an error."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

import msgspec

from dhtwisted.actions.lists import Streamed
from dhtwisted.wire.envelope import encode, encode_text

if TYPE_CHECKING:
    from dhtwisted.errors import ApiError
    from dhtwisted.fronts.rest.endpoint import Endpoint

Body = bytes | AsyncGenerator[bytes, None] | None


def success(endpoint: Endpoint, members: Any) -> tuple[int, Body, bytes]:
    """Status, body and header lines of a success.

    :param members: what the handler returned.
    """
    if members is None:
        return 204, None, b""
    if endpoint.route.reply_headers:
        return 204, None, _header_lines(members, endpoint.route.reply_headers)
    answer = endpoint.action.answer
    if isinstance(members, Streamed):
        return endpoint.route.status, members.portions(answer), b""
    return endpoint.route.status, encode(members if answer is None else getattr(members, answer)), b""


def _header_lines(members: Any, names: dict[str, str]) -> bytes:
    """The members of a reply, which are plain texts, as lines of headers."""
    values = ((names[field.encode_name], getattr(members, field.name)) for field in msgspec.structs.fields(members))
    return b"".join(b"%b: %b\r\n" % (name.encode(), value.encode()) for name, value in values if value is not None)


def error_answer(error: ApiError, body_member: str | None = None) -> tuple[int, bytes]:
    """Status and body of an error (REST reference, section 4).

    :param body_member: the member of the request that its body was; the detail then calls it the body.
    """
    code = error.rest_code or error.code
    body = b'{"error":%d,"message":%b' % (code, encode_text(error.rest_text or error.text))
    if error.detail is not None:
        body += b',"detail":%b' % encode_text(_about_body(error.detail, body_member))
    return code, body + (b"}" if error.retry_after is None else b',"retryAfter":%d}' % error.retry_after)


def _about_body(detail: str, member: str | None) -> str:
    """A detail about ``device.name`` for a client whose body is ``device``."""
    first, space, rest = detail.partition(" ")
    if first == member:
        return f"the body{space}{rest}"
    return detail.removeprefix(f"{member}.")


def retry_line(error: ApiError) -> bytes:
    """The header line that says when to come again (RFC 9110, section 10.2.3); empty if that is unknown."""
    return b"" if error.retry_after is None else b"Retry-After: %d\r\n" % error.retry_after

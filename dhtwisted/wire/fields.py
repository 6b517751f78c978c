"""Wire types shared by all requests, on msgspec.

A request is one JSON object. Each action declares its members in a struct derived from :class:`Fields`. A member that is absent or ``null``
is ``None``, or :data:`ABSENT` if it may be any JSON. The handler refuses what is missing, since the texts differ by action.
"""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Raw, Struct

from dhtwisted.errors import InvalidNotificationId, WrongLength
from dhtwisted.wire.timestamps import parse_timestamp

ABSENT = Raw(b"")
"""The value of an absent member that may be any JSON."""

NULL = Raw(b"null")

_INT64 = {"ge": -(2**63), "le": 2**63 - 1}
Integer = Annotated[int, Meta(**_INT64)]
"""An integer that every storage can hold."""

NotificationId = Annotated[int, Meta(**_INT64, extra={"error": InvalidNotificationId})]
"""An integer whose wrong type has an error of its own (WebSocket reference, section 2.1)."""

MAX_NAME = 256
MAX_SUBSCRIPTION_LIST = 1000


class Timestamp(int):
    """Milliseconds since 1970 UTC. Clients send it in any form of :func:`~dhtwisted.wire.timestamps.parse_timestamp`."""


class Fields(Struct, rename="camel", tag_field="action", kw_only=True, gc=False):
    """Members that any request may carry.

    :ivar request_id: any JSON, echoed unchanged.
    :ivar token: an access token that authorizes this one request (WebSocket reference, section 7, row 4).
    """

    request_id: Raw = NULL
    token: str | None = None


class Members(Struct, rename="camel", kw_only=True, gc=False):
    """Base of the objects inside requests."""


def milliseconds(timestamp: Timestamp | None) -> int | None:
    """Convert a client's time to a plain integer, which every storage can store."""
    return None if timestamp is None else int(timestamp)


def decode_hook(kind: type, value: Any) -> Any:
    """Decode the types that msgspec does not know: :class:`Timestamp`.

    :raises ValueError: the value is no timestamp. msgspec turns it into its own error.
    :raises TypeError: ``kind`` is another type.
    """
    if kind is Timestamp:
        return Timestamp(parse_timestamp(value))
    raise TypeError(f"{kind} is no wire type")


def check_length(value: str | None, low: int, high: int, member: str) -> None:
    """Check the length of a text in characters. ``None`` passes.

    :param member: its path in the request, such as ``device.name``.
    :raises BadRequest: too short or too long.
    """
    if value is not None and not low <= len(value) <= high:
        raise WrongLength(member, low, high)

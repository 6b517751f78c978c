"""Events into JSON: what subscribers receive for each message (WebSocket reference, section 4.4)."""

from __future__ import annotations

from collections.abc import Sequence

from dhtwisted.model import Command, Message, Notification
from dhtwisted.wire.envelope import encode
from dhtwisted.wire.message_texts import Frames, message_texts
from dhtwisted.wire.resources import CommandResource, NotificationResource

_notification, _command = NotificationResource.of, CommandResource.of
"""Looked up once: each use of a class method of a struct looks it up again."""

_BODIES: Frames = {Command: b'"command":%b}', Notification: b'"notification":%b}'}


def event_prefix(action: str, subscription_id: int | None) -> bytes:
    """The first part of an event, which differs by subscriber. ``None`` is sent as null (section 4.4)."""
    return b'{"action":"%b","subscriptionId":%b,' % (action.encode(), b"null" if subscription_id is None else b"%d" % subscription_id)


def event_body(message: Command | Notification) -> bytes:
    """The second part of an event, which is the same for all subscribers."""
    if isinstance(message, Command):
        return b'"command":' + encode(_command(message)) + b"}"
    return b'"notification":' + encode(_notification(message)) + b"}"


def event_bodies(messages: Sequence[Message]) -> list[bytes]:
    """The same for several messages, of one kind or both, in their order. From two messages on it costs less than :func:`event_body`."""
    return message_texts(messages, _BODIES)

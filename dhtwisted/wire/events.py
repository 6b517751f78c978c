"""Events into JSON: what subscribers receive for each message (WebSocket reference, section 4.4)."""

from __future__ import annotations

from dhtwisted.model import Command
from dhtwisted.wire.envelope import encode
from dhtwisted.wire.resources import CommandResource, NotificationResource

_notification, _command = NotificationResource.of, CommandResource.of
"""Found at once: a class method of a struct is looked up anew at each use."""


def event_prefix(action, subscription_id):
    """First part of an event, its own for each receiver. A ``subscription_id`` of ``None`` is sent as null (section 4.4)."""
    return b'{"action":"%b","subscriptionId":%b,' % (action.encode(), b"null" if subscription_id is None else b"%d" % subscription_id)


def event_body(message):
    """Second part of an event, the same for every receiver."""
    if type(message) is Command:
        return b'"command":' + encode(_command(message)) + b"}"
    return b'"notification":' + encode(_notification(message)) + b"}"

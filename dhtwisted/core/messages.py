"""Stores messages, publishes their events and makes the replies, in this order, for commands, notifications and devices alike.

An event must not come before its message is stored: a subscriber may ask for the message at once, and a replay reads it from the storage. A
reply says that the message is stored and its event is on its way.

This is the hot path: where the storage does not wait, nothing here makes a coroutine or a Deferred.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from itertools import repeat
from typing import Any, TypeVar

from msgspec import Struct

from dhtwisted.core.coroutines import after
from dhtwisted.core.event_kinds import COMMAND_UPDATED, NOTIFICATION_INSERTED, EventKind
from dhtwisted.core.server import Request
from dhtwisted.errors import CommandNotFound
from dhtwisted.kit.waiter import DONE
from dhtwisted.model import Command, Event, Message, Notification, json_size, payload_size

M = TypeVar("M", Command, Notification)
Reply = TypeVar("Reply")


class Change(Struct, gc=False):
    """A change of a command that is to be made.

    :ivar changes: ``status`` and ``result``, or one of them, or neither.
    """

    device_id: str
    command_id: int
    changes: dict[str, Any]

    @property
    def size(self) -> int:
        """Bytes that count as its payload."""
        return json_size(self.changes.get("result"))


def insert(request: Request, kind: EventKind, message: M, reply: Callable[[M], Reply]) -> Reply | Awaitable[Reply]:
    """Store a new message and publish its event.

    :param kind: of its event.
    :param message: the storage fills in its id and times.
    :param reply: called with the message when its event is published; makes the members of the reply.
    :returns: what ``reply`` returned; an awaitable of it when the storage has to wait.
    :raises QuotaExceededForNow: the user or the device has stored enough today.
    """
    server = request.server
    server.quotas.store(request, message.device_id, payload_size(message))
    stored = (request.append or server.messages.append)((message,))
    subject = request, kind, message, reply
    return _publish(subject, None) if stored is DONE else after(stored, _publish, subject)


def update_command(request: Request, change: Change) -> Awaitable[None] | None:
    """Change a command and publish its event, also when nothing changed.

    :returns: ``None``; an awaitable of it when the storage has to wait.
    :raises CommandNotFound: the device has no such command.
    :raises QuotaExceededForNow: the user or the device has stored enough today.
    """
    request.server.quotas.store(request, change.device_id, change.size)
    return after(start_update(request, change), publish_update, (request, change))


def start_update(request: Any, change: Change) -> Awaitable[Command | None]:
    """Have the storage change a command."""
    return request.server.messages.update_command(change.device_id, change.command_id, change.changes)


async def announce(request: Request, notification: Notification) -> None:
    """Store and publish a notification that the server makes itself. What it stores has been counted for the quotas before."""
    await request.server.messages.append((notification,))
    _publish((request, NOTIFICATION_INSERTED, notification, None), None)


def publish_together(request: Any, stored: Iterable[tuple[EventKind, Sequence[Message]]]) -> None:
    """Publish the events of several messages of one client.

    :param request: has the ``server`` and the ``session``.
    :param stored: a kind of events, and the messages of successive events of that kind.
    """
    events: list[Event] = []
    for kind, messages in stored:
        if kind.remembers_inserter:
            # First, since the event may lead to an update at once.
            for message in messages:
                request.session.remember_command(message.id)
        events += map(Event, repeat(kind.name), messages)
    if events:
        request.server.publish(events)


def _publish(subject: tuple[Request, EventKind, Message, Callable[[Any], Any] | None], _: None) -> Any:
    request, kind, message, reply = subject
    if kind.remembers_inserter:
        # First, since the event may lead to an update at once.
        request.session.remember_command(message.id)
    request.server.publish((Event(kind.name, message),))
    return None if reply is None else reply(message)


def publish_update(subject: tuple[Request, Change], command: Command | None) -> None:
    """Publish the event of an update.

    :param subject: the request and its change.
    :param command: what the storage has answered.
    :raises CommandNotFound: the device has no such command.
    """
    request, change = subject
    if command is None:
        raise CommandNotFound(change.command_id)
    _publish((request, COMMAND_UPDATED, command, None), None)

"""The kinds of events that clients can subscribe to. Each is declared here, once, with everything that depends on its kind."""

from __future__ import annotations

from msgspec import Struct

from dhtwisted.core.access import Permission
from dhtwisted.model import COMMAND_INSERT, COMMAND_UPDATE, NOTIFICATION_INSERT, Command, Message, MessageQuery, Notification

DEVICE_ADD, DEVICE_UPDATE = "$device-add", "$device-update"
SERVER_MADE = frozenset({DEVICE_ADD, DEVICE_UPDATE})
"""Names of the notifications that the server makes when a device is saved."""


class EventKind(Struct, frozen=True, kw_only=True):
    """One kind of event.

    :ivar name: its action on the wire, and that of its :class:`~dhtwisted.model.Event`.
    :ivar message_kind: ``Command`` or ``Notification``.
    :ivar permission: what a subscriber needs.
    :ivar number: the field of the message that has the number of the event. The numbers of one kind ascend in the order of commits.
    :ivar time: the field with the time by which clients order these events.
    :ivar stored: the field with the time that the storage gave to the event.
    :ivar is_update: whether it reports a change of a command that was inserted before.
    :ivar remembers_inserter: whether the connection that caused it gets the later updates of the command without a subscription.
    :ivar reaches_inserter: whether such a connection gets this event.
    """

    name: str
    message_kind: type[Command] | type[Notification]
    permission: Permission
    number: str
    time: str
    stored: str
    is_update: bool = False
    remembers_inserter: bool = False
    reaches_inserter: bool = False

    def number_of(self, message: Message) -> int:
        """The number of the event of a message."""
        return getattr(message, self.number)

    def time_of(self, message: Message) -> int:
        """The time by which clients order it, in milliseconds."""
        return getattr(message, self.time)

    def stored_at(self, message: Message) -> int:
        """The time that the storage gave to it, in milliseconds."""
        return getattr(message, self.stored)

    def by_time(self, since: int | None = None, before: int | None = None, newest: bool = False) -> MessageQuery:
        """The messages of these events in the order of :attr:`time_of`.

        :param newest: only the last one.
        """
        return self._query(since, before, newest, by_arrival=False)

    def newest_stored(self, before: int | None = None) -> MessageQuery:
        """The message of the last of these events, in the order of :attr:`stored_at`."""
        return self._query(None, before, True, by_arrival=not self.is_update)

    def _query(self, since: int | None, before: int | None, newest: bool, by_arrival: bool) -> MessageQuery:
        return MessageQuery(
            updated=self.is_update,
            by_update=self.is_update,
            by_arrival=by_arrival,
            since=since,
            before=before,
            descending=newest,
            take=1 if newest else None,
        )


COMMAND_INSERTED = EventKind(
    name=COMMAND_INSERT,
    message_kind=Command,
    permission=Permission.GET_DEVICE_COMMAND,
    number="id",
    time="timestamp",
    stored="arrived",
    remembers_inserter=True,
)
COMMAND_UPDATED = EventKind(
    name=COMMAND_UPDATE,
    message_kind=Command,
    permission=Permission.GET_DEVICE_COMMAND,
    number="update_id",
    time="last_updated",
    stored="last_updated",
    is_update=True,
    reaches_inserter=True,
)
NOTIFICATION_INSERTED = EventKind(
    name=NOTIFICATION_INSERT,
    message_kind=Notification,
    permission=Permission.GET_DEVICE_NOTIFICATION,
    number="id",
    time="timestamp",
    stored="arrived",
)

EVENT_KINDS = {kind.name: kind for kind in (COMMAND_INSERTED, COMMAND_UPDATED, NOTIFICATION_INSERTED)}

"""Long polls of REST for commands and notifications, and the wait for the update of one command (REST reference, section 9)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any, cast

from msgspec import Meta
from msgspec.structs import replace
from twisted.internet.task import deferLater

from dhtwisted.actions.command import Commands, OneCommand
from dhtwisted.actions.lists import PAGE_SIZE, GivenMessages, answer_messages
from dhtwisted.actions.lookups import accessible_device
from dhtwisted.actions.notification import Notifications
from dhtwisted.actions.subscription import CommandSubscribe, NotificationSubscribe, check_filters, filters
from dhtwisted.actions.table import Route, endpoint
from dhtwisted.core.access import Permission
from dhtwisted.core.client import IPollingClient
from dhtwisted.core.event_kinds import COMMAND_INSERTED, COMMAND_UPDATED, NOTIFICATION_INSERTED, EventKind
from dhtwisted.core.polls import Poll
from dhtwisted.core.replay import few_devices
from dhtwisted.core.server import Request, Server
from dhtwisted.core.stored_pages import MessagePages
from dhtwisted.core.subscription import Subscription
from dhtwisted.errors import InvalidLimit, InvalidTimeout
from dhtwisted.model import Command, Device, Message, MessageQuery, payload_size
from dhtwisted.wire.fields import Fields, Timestamp
from dhtwisted.wire.members import REQUIRED, CommandId, DeviceId, PollLimit, WaitTimeout
from dhtwisted.wire.resources import CommandResource

DEFAULT_TIMEOUT, LONGEST_TIMEOUT = 30, 60
DEFAULT_LIMIT = 100
PROBE_TIMEOUT = 0.1
"""Seconds that a poll without wait and limit takes at least: the Python client repeats it in a tight loop."""

PAGE = 100
MOST_AHEAD = 0.05
"""Seconds to wait at most for the millisecond of a message to end. A client may date its message ahead, and the clock of a storage never
steps back as this node's may. The clocks of nodes should differ by less than this."""

DAY = 86_400_000

LONGEST_WRITE = 15_000
"""Milliseconds that may pass from the time of a message until it is stored, the difference of clocks included."""


class NotificationPoll(NotificationSubscribe, tag="notification/poll"):
    """Which notifications, as in ``notification/subscribe``: after ``timestamp`` (exclusive; absent: now), oldest first, at most ``limit``
    (100; 0 for all). ``waitTimeout``: 0 to 60 seconds, 30 when absent.
    """

    timestamp: Annotated[
        Timestamp | None,
        Meta(
            description="only messages later than this; a time that the client of a message gave counts. For the next poll, use "
            "the `timestamp` of the last notification. Default: now"
        ),
    ] = None
    limit: PollLimit | None = None
    wait_timeout: WaitTimeout | None = None


class CommandPoll(CommandSubscribe, tag="command/poll"):
    """Which commands, as in ``command/subscribe``: after ``timestamp`` (exclusive; absent: now), oldest first, at most ``limit`` (100; 0
    for all). With ``returnUpdatedCommands`` only updates, and ``timestamp`` is that of the update. ``waitTimeout``: 0 to 60 seconds, 30
    when absent.
    """

    timestamp: Annotated[
        Timestamp | None,
        Meta(
            description="only messages later than this; a time that the client of a message gave counts. For the next poll, use "
            "the `timestamp` of the last command, or its `lastUpdated` if you poll for updates; otherwise the same "
            "commands come again. Default: now"
        ),
    ] = None
    limit: PollLimit | None = None
    wait_timeout: WaitTimeout | None = None


@endpoint(
    CommandPoll,
    Permission.GET_DEVICE_COMMAND,
    rest=(Route("GET", "/device/{deviceId}/command/poll"), Route("GET", "/device/command/poll")),
    waits=True,
)
async def command_poll(request: Request[CommandPoll]) -> Commands:
    """Wait for commands of a device, of networks, of device types, or all accessible ones. The list is empty if none came in time.

    Without ``limit`` an answer has about a hundred. It has all commands of its last millisecond, so that the next poll with the
    ``timestamp`` of the last one misses none. A ``limit`` is kept exactly, so the answer may lack commands of its last millisecond, and the
    next poll by ``timestamp`` misses these. A client that must not miss any omits ``limit``, or sends 0 for all.
    """
    found = await _poll(request, COMMAND_UPDATED if request.fields.return_updated_commands else COMMAND_INSERTED)
    return await answer_messages(request, found, lambda commands, more: Commands(commands=commands, more=more))


@endpoint(
    NotificationPoll,
    Permission.GET_DEVICE_NOTIFICATION,
    rest=(Route("GET", "/device/{deviceId}/notification/poll"), Route("GET", "/device/notification/poll")),
    waits=True,
)
async def notification_poll(request: Request[NotificationPoll]) -> Notifications:
    """Wait for notifications of a device, of networks, of device types, or all accessible ones. The list is empty if none came in time.

    ``$device-add`` and ``$device-update`` are included as in ``notification/subscribe``. Without ``limit`` an answer has all notifications
    of its last millisecond. A ``limit`` is kept exactly, so the answer may lack some of these, and the next poll by ``timestamp`` misses
    them. A client that must not miss any omits ``limit``, or sends 0 for all.
    """
    found = await _poll(request, NOTIFICATION_INSERTED)
    return await answer_messages(request, found, lambda found, more: Notifications(notifications=found, more=more))


class CommandWait(Fields, tag="command/wait"):
    """``deviceId``, ``commandId``; ``waitTimeout``: 0 to 60 seconds, 30 when absent."""

    device_id: Annotated[DeviceId | None, REQUIRED] = None
    command_id: Annotated[CommandId | None, REQUIRED] = None
    wait_timeout: WaitTimeout | None = None


@endpoint(
    CommandWait,
    Permission.GET_DEVICE_COMMAND,
    rest=Route("GET", "/device/{deviceId}/command/{commandId}/poll", bad_id=400),
    waits=True,
)
async def command_wait(request: Request[CommandWait]) -> OneCommand | None:
    """Wait until a command has been updated. The answer is empty if it was not updated in time, or does not exist."""
    fields, server = request.fields, request.server
    seconds = _timeout(request)
    device = await accessible_device(request, fields.device_id)
    poll = Poll(lambda command: command.id != fields.command_id, budget=server.budget)
    with _waiting(request, COMMAND_UPDATED, poll, device_ids=frozenset({device.id})):
        command = await server.messages.get_message(Command, device.id, cast(int, fields.command_id))
        if command is None or command.updated:
            return None if command is None else OneCommand(command=CommandResource.of(command))
        await poll.wait(server.reactor, seconds)
        return OneCommand(command=CommandResource.of(cast(Command, poll.events[0]))) if poll.events and not poll.ended else None


def _timeout(request: Request[Any]) -> float:
    """The seconds that a poll waits. They are added to its deadline, which is for the other waits of the request."""
    seconds = DEFAULT_TIMEOUT if request.fields.wait_timeout is None else request.fields.wait_timeout
    if not 0 <= seconds <= LONGEST_TIMEOUT:
        raise InvalidTimeout(seconds, LONGEST_TIMEOUT)
    request.due += seconds
    return seconds


@contextmanager
def _waiting(request: Request[Any], kind: EventKind, poll: Poll, **conditions: Any) -> Iterator[Subscription]:
    """The subscription of a poll. It ends with the block."""
    server = request.server
    conditions = {"device_ids": None, "network_ids": None, "device_type_ids": None, "names": None} | conditions
    subscription = Subscription(poll, request.principal, server.next_subscription_id(), kind, echo=None, **conditions)
    account, ids = request.principal.account, subscription.id_count
    server.quotas.check(account, subscription_ids=ids)
    server.polls.add(poll)
    server.quotas.take(account, subscription_ids=ids)
    server.broker.add(subscription)
    client = IPollingClient(request.session)
    client.end_when_gone(poll.end)
    try:
        yield subscription
    finally:
        client.end_when_gone(None)
        server.broker.remove(subscription)
        server.quotas.give_back(account, subscription_ids=ids)
        server.polls.remove(poll)
        poll.close()


async def _poll(request: Request[Any], kind: EventKind) -> GivenMessages:
    """The messages of one poll, in ascending order: the stored ones, or if there are none, those that come in time.

    The subscription begins before the storage is read, so that no message falls between the two. The next poll asks for messages later than
    the last one of this answer. So the answer must have all messages of that millisecond, unless the client named a limit. For that, the
    storage is read again when the millisecond is over and all nodes have stored their messages of it. Only a message that a client dates
    into this millisecond, and that another node is still storing, may be missed.
    """
    fields, server = request.fields, request.server
    seconds = _timeout(request)
    if fields.limit is not None and fields.limit < 0:
        raise InvalidLimit()
    fields.device_id = fields.device_id or None
    from_now = fields.timestamp is None
    position = now = server.now()
    await check_filters(request)
    if not from_now:
        position = fields.timestamp
    elif (latest := await _latest(server, kind, now)) > server.now():
        # The clock is behind the times of the storage, so "now" is the latest time of the storage.
        position = latest
    if seconds == 0 and fields.limit == 0:
        seconds = PROBE_TIMEOUT
    # A message of this very millisecond may have been stored after the poll came and before the storage is read here.
    is_this_millisecond = from_now and position == now
    poll = Poll(await _known(server, kind, position + (not is_this_millisecond)), kind.time_of, server.budget)
    with _waiting(request, kind, poll, **filters(request)) as subscription:
        history = _History(server, poll, subscription, position, from_now, fields.limit)
        found = await history.read()
        due = await _due(server, poll, kind, found, seconds)
        if poll.ended or not due:
            return GivenMessages(())
        last = max(map(kind.time_of, due))
        if await _millisecond_ended(server, last) or poll.has_dropped or not found:
            found = await history.read(until=last)
        found, events = ([m for m in messages if kind.time_of(m) <= last] for messages in (found, poll.events))
        return history.answer(_merged(kind, found, events)[: fields.limit or None], last)


async def _due(server: Server, poll: Poll, kind: EventKind, found: list[Message], seconds: float) -> list[Message]:
    """Wait for a message whose time has come, unless there is one.

    The next poll continues from the last time of this answer. If a client dated its message ahead of the clock, earlier messages are still
    to be stored and would be missed. So such a message waits until its time, which is a minute at most.

    :param found: the stored messages, perhaps only the first; those left out are earlier than the events.
    :param seconds: how long to wait.
    :returns: those of the stored messages whose time has come, else those of the events; empty if there was none in time.
    """
    deadline = server.reactor.seconds() + seconds
    while True:
        now = server.now()
        due = _until(kind, found, now) or _until(kind, poll.events, now)
        left = deadline - server.reactor.seconds()
        if due or poll.ended or left <= 0:
            return due
        ahead = [(kind.time_of(message) - now) / 1000 for message in (*found, *poll.events)]
        await poll.wait(server.reactor, min([left, *ahead]), len(poll.events))


def _until(kind: EventKind, messages: Iterable[Message], now: int) -> list[Message]:
    """The messages whose time has come."""
    return [message for message in messages if _arrived_in_time(message) or kind.time_of(message) <= now]


def _arrived_in_time(message: Message) -> bool:
    return cast(int, message.timestamp) <= cast(int, message.arrived)


async def _latest(server: Server, kind: EventKind, now: int) -> int:
    """The latest time that the storage gave to an event, in milliseconds. It is later than now if the clock of this node is behind or was
    set back.

    :param now: the time of the clock, in milliseconds. Messages more than a day ahead were imported and do not count.
    """
    found = await server.messages.find_messages(kind.message_kind, kind.newest_stored(before=now + DAY))
    return max(map(kind.stored_at, found), default=0)


async def _known(server: Server, kind: EventKind, before: int) -> Callable[[Message], bool]:
    """Find out which events are late. Their messages are stored already: the storage gives those after the position, and the client has the
    others, perhaps from another node. A message that is stored from now on is not late, whatever time its client gives it.

    :param before: milliseconds; earlier messages are known.
    :returns: whether a message is known.
    """
    found = await server.messages.find_messages(kind.message_kind, kind.by_time(before=before, newest=True))
    last = max(map(kind.number_of, found), default=0)
    return lambda message: kind.number_of(message) <= last


async def _millisecond_ended(server: Server, time: int) -> bool:
    """Wait until no more messages of this time (milliseconds) can become visible in the storage.

    :returns: false if there was nothing to wait for.
    """
    if server.now() - time > LONGEST_WRITE:
        return False
    left = (time + 1 - server.now()) / 1000
    if left > 0:
        await deferLater(server.reactor, min(left, MOST_AHEAD))
    await server.messages.append(())
    return True


def _merged(kind: EventKind, stored: list[Message], events: list[Message]) -> list[Message]:
    """Stored messages and events in order of time, each message once. An event may be earlier than the poll's ``timestamp``."""
    messages = {message.id: message for message in events}
    messages |= {message.id: message for message in stored}
    return sorted(messages.values(), key=lambda message: (kind.time_of(message), message.id))


class _History:
    """Reads the stored messages of one poll.

    :param position: milliseconds; only later messages count.
    :param from_now: the position is now, and a message that is stored from now on counts even if it has the same millisecond.
    :param limit: the client's limit, which is kept exactly; 0 and ``None`` for none. With the server's own limits, an answer still has all
        messages of its last millisecond.
    """

    def __init__(self, server: Server, poll: Poll, subscription: Subscription, position: int, from_now: bool, limit: int | None) -> None:
        self._server = server
        self._poll = poll
        self._subscription = subscription
        self._position = position
        self._cut: MessageQuery | None = None
        self._left = 0
        self._named_limit = limit or 0
        self._limit: int | None = DEFAULT_LIMIT if limit is None else limit or server.settings.limits.list_size or None
        self._time_of = subscription.kind.time_of
        names = None if subscription.names is None else tuple(subscription.names)
        self._query = replace(subscription.kind.by_time(since=position + (not from_now)), names=names)

    async def read(self, until: int | None = None) -> list[Message]:
        """The messages in ascending order.

        :param until: milliseconds; no message is later.
        """
        subscription = self._subscription
        query = self._query if until is None else replace(self._query, before=until + 1)
        query = replace(query, device_ids=await few_devices(self._server, subscription))
        pages = self._pages = MessagePages(self._server.messages, subscription.kind.message_kind, self._server.budget, PAGE)
        found: list[Message] = []
        size, self._cut = 0, None
        while not self._poll.ended:
            page, is_last = await pages.read(query, PAGE_SIZE)
            for message in page:
                if self._is_full(found, size) and self._time_of(message) > self._time_of(found[-1]):
                    return found
                if found and size >= PAGE_SIZE:
                    self._cut = replace(pages.following(query, found), before=self._time_of(found[-1]) + 1)
                    return found
                if await self._wanted(message):
                    found.append(message)
                    size += payload_size(message)
                    if len(found) == self._named_limit:
                        return found
            if is_last:
                return found
            query = pages.following(query, page)
            # Other requests have their turn between pages, since a filter may read very many.
            await deferLater(self._server.reactor, 0)
        return []

    def answer(self, messages: list[Message], last: int) -> GivenMessages:
        """The messages of an answer, followed by the rest of its last millisecond. A client may date any number of messages into it, so the
        rest is read page by page as the answer is sent.

        :param last: that millisecond.
        """
        cut = self._cut
        if cut is None or cast(int, cut.before) > last + 1:
            return GivenMessages(messages)
        behind = cast(tuple, cut.behind)
        first = [message for message in messages if cut.place(message) <= behind]
        self._left = self._named_limit - len(first) if self._named_limit else sys.maxsize
        return _Answer(first, self)

    async def read_rest(self) -> list[Message]:
        """The next messages of the rest; empty at the end."""
        found: list[Message] = []
        while self._cut is not None and self._left > 0 and not found:
            page, is_last = await self._pages.read(self._cut, PAGE_SIZE)
            found = [message for message in page if await self._wanted(message)][: self._left]
            self._cut = None if is_last else self._pages.following(self._cut, page)
        self._left -= len(found)
        return found

    def _is_full(self, found: list[Message], size: int) -> bool:
        most = self._server.settings.limits.list_bytes
        most = min(most, PAGE_SIZE) if most else PAGE_SIZE
        return bool(found) and ((self._limit is not None and len(found) >= self._limit) or size >= most)

    async def _wanted(self, message: Message) -> bool:
        if self._time_of(message) <= self._position and self._poll.is_known(message):
            return False
        entities = self._server.entities
        device = entities.device(message.device_id) or await entities.get(Device, message.device_id)
        return device is not None and self._subscription.matches(message, device.network_id, device.device_type_id)


class _Answer(GivenMessages):
    """Gives messages from memory first, then the rest from the storage."""

    def __init__(self, messages: list[Message], history: _History) -> None:
        super().__init__(messages)
        self._history = history

    async def read(self) -> list[Message]:
        """See :class:`~dhtwisted.actions.lists.Pages`."""
        return await super().read() or await self._history.read_rest()

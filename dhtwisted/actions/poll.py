"""What only REST has: long polls for commands and notifications, and the wait for one command (REST reference, section 9)."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import Annotated, cast

from msgspec import Meta
from msgspec.structs import replace
from twisted.internet.task import deferLater

from dhtwisted.actions.command import Commands, OneCommand
from dhtwisted.actions.lists import PAGE_SIZE, Given, answer_list
from dhtwisted.actions.lookups import accessible_device
from dhtwisted.actions.notification import Notifications
from dhtwisted.actions.subscription import CommandSubscribe, NotificationSubscribe, check_filters, filters
from dhtwisted.actions.table import Route, endpoint
from dhtwisted.core.access import Permission
from dhtwisted.core.client import IPollingClient
from dhtwisted.core.event_kinds import COMMAND_INSERTED, COMMAND_UPDATED, NOTIFICATION_INSERTED
from dhtwisted.core.polls import Poll
from dhtwisted.core.replay import few_devices
from dhtwisted.core.stored_pages import MessagePages
from dhtwisted.core.subscription import Subscription
from dhtwisted.errors import InvalidLimit, InvalidTimeout
from dhtwisted.model import Command, Device, payload_size
from dhtwisted.wire.fields import Fields, Timestamp
from dhtwisted.wire.members import REQUIRED, CommandId, DeviceId, PollLimit, WaitTimeout
from dhtwisted.wire.resources import CommandResource, NotificationResource

DEFAULT_TIMEOUT, LONGEST_TIMEOUT = 30, 60
DEFAULT_LIMIT = 100
PROBE_TIMEOUT = 0.1
"""Seconds that a poll without waiting and without limit is held: the Python client repeats it in a tight loop."""

PAGE = 100
MOST_AHEAD = 0.05
"""Seconds that are waited, at most, for the millisecond of a message to end: a client may date it at will, and a storage's clock never
steps back when ours does. So the clocks of nodes should differ by less."""

DAY = 86_400_000

LONGEST_WRITE = 15_000
"""Milliseconds for which a message may be stamped before it is stored, clocks that differ included."""


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
async def command_poll(request) -> Commands:
    """Wait for commands of a device, of networks, of device types, or all accessible ones. An empty list when none came in time.

    Without ``limit`` an answer has about a hundred: it goes on to the end of its last millisecond, so that a client that asks next with the
    ``timestamp`` of the last one misses none. A ``limit`` is kept exactly. It may cut a millisecond in two, and a client that goes on by
    ``timestamp`` then misses the rest of that millisecond. Who must not miss any leaves ``limit`` out, or sends 0 for all.
    """
    found = await _poll(request, COMMAND_UPDATED if request.fields.return_updated_commands else COMMAND_INSERTED)
    return await answer_list(request, found, CommandResource.of, lambda commands, more: Commands(commands=commands, more=more))


@endpoint(
    NotificationPoll,
    Permission.GET_DEVICE_NOTIFICATION,
    rest=(Route("GET", "/device/{deviceId}/notification/poll"), Route("GET", "/device/notification/poll")),
    waits=True,
)
async def notification_poll(request) -> Notifications:
    """Wait for notifications of a device, of networks, of device types, or all accessible ones. An empty list when none came in time.

    ``$device-add`` and ``$device-update`` are among them as in ``notification/subscribe``. Without ``limit`` an answer goes on to the end
    of its last millisecond. A ``limit`` is kept exactly: a client that goes on by ``timestamp`` then misses the rest of a millisecond that
    it cuts. Who must not miss any leaves ``limit`` out, or sends 0 for all.
    """
    found = await _poll(request, NOTIFICATION_INSERTED)
    return await answer_list(request, found, NotificationResource.of, lambda found, more: Notifications(notifications=found, more=more))


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
async def command_wait(request) -> OneCommand | None:
    """Wait until a command has been updated; nothing when it was not in time, or does not exist."""
    fields, server = request.fields, request.server
    seconds = _timeout(request)
    device = await accessible_device(request, fields.device_id)
    poll = Poll(lambda command: command.id != fields.command_id, budget=server.budget)
    with _waiting(request, COMMAND_UPDATED, poll, device_ids=frozenset({device.id})):
        command = await server.messages.get_message(Command, device.id, fields.command_id)
        if command is None or command.updated:
            return None if command is None else OneCommand(command=CommandResource.of(command))
        await poll.wait(server.reactor, seconds)
        return OneCommand(command=CommandResource.of(cast(Command, poll.events[0]))) if poll.events and not poll.ended else None


def _timeout(request):
    """How long a poll waits, by which its deadline is moved: that is for what it waits beside."""
    seconds = DEFAULT_TIMEOUT if request.fields.wait_timeout is None else request.fields.wait_timeout
    if not 0 <= seconds <= LONGEST_TIMEOUT:
        raise InvalidTimeout(seconds, LONGEST_TIMEOUT)
    request.due += seconds
    return seconds


@contextmanager
def _waiting(request, kind, poll, **conditions):
    """The subscription of a poll, in force until the block ends."""
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


async def _poll(request, kind):
    """The messages of one poll, in ascending order: what is stored, or else what comes in time. They have a ``read`` as
    :class:`~dhtwisted.actions.lists.Pages` has.

    The subscription begins before the storage is read, so that nothing falls between the two. A client asks next for what is later than
    the last message that it got; so an answer must have all of that message's millisecond, unless the client named a limit. It is read
    again when the millisecond is over and what was being stored then is stored, on whichever node. Only a message that a client dates into
    this millisecond, and that another node is still storing, may be missed.
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
        # The clock is behind what the storage gives: there, now is that.
        position = latest
    if seconds == 0 and fields.limit == 0:
        seconds = PROBE_TIMEOUT
    # The position is now: what has this very millisecond may have been stored after the poll came, and before the storage is asked here.
    is_this_millisecond = from_now and position == now
    poll = Poll(await _known(server, kind, position + (not is_this_millisecond)), kind.time_of, server.budget)
    with _waiting(request, kind, poll, **filters(request)) as subscription:
        history = _History(server, poll, subscription, position, from_now, fields.limit)
        found = await history.read()
        due = await _due(server, poll, kind, found, seconds)
        if poll.ended or not due:
            return Given(())
        last = max(map(kind.time_of, due))
        if await _millisecond_ended(server, last) or poll.has_dropped or not found:
            found = await history.read(until=last)
        found, events = ([m for m in messages if kind.time_of(m) <= last] for messages in (found, poll.events))
        return history.answer(_merged(kind, found, events)[: fields.limit or None], last)


async def _due(server, poll, kind, found, seconds):
    """Wait for a message whose time has come, unless there is one.

    The client's next poll goes on from the last time that it got. Below the time of a message that a client dated ahead of ours, others are
    still to be stored, and would be missed. So such a message waits until then, which is a minute at most.

    :param found: what is stored; perhaps only the first of it, and what is left out is earlier than the events.
    :param seconds: how long to wait.
    :returns: a list of messages, of those that were found if there are such, else of the events; empty when none was there in time.
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


def _until(kind, messages, now):
    """Those of the messages whose time has come."""
    return [message for message in messages if message.timestamp <= message.arrived or kind.time_of(message) <= now]


async def _latest(server, kind, now):
    """The last time that the storage has given: it is later than now where the clock of this node is behind, or was set back.

    :param now: of the clock, in milliseconds. What is ahead by more than a day was imported so, and says nothing.
    """
    found = await server.messages.find_messages(kind.message_kind, kind.newest_stored(before=now + DAY))
    return max(map(kind.stored_at, found), default=0)


async def _known(server, kind, before):
    """Find out which events are late: their messages were stored before now, so what is later than the position will be found there, and
    the client has had the rest, from another node perhaps. A message that is stored from now on is none of these, whatever its client dates
    it.

    :param before: milliseconds; what is earlier is known.
    :returns: a function of a message.
    """
    found = await server.messages.find_messages(kind.message_kind, kind.by_time(before=before, newest=True))
    last = max(map(kind.number_of, found), default=0)
    return lambda message: kind.number_of(message) <= last


async def _millisecond_ended(server, time):
    """Wait until nothing becomes visible any more that the storage gives this time.

    :returns: false when there was nothing to wait for.
    """
    if server.now() - time > LONGEST_WRITE:
        return False
    left = (time + 1 - server.now()) / 1000
    if left > 0:
        await deferLater(server.reactor, min(left, MOST_AHEAD))
    await server.messages.append(())
    return True


def _merged(kind, stored, events):
    """Both together, the newest state of each: an event may be of a message that a client dated before the poll's ``timestamp``."""
    messages = {message.id: message for message in events}
    messages |= {message.id: message for message in stored}
    return sorted(messages.values(), key=lambda message: (kind.time_of(message), message.id))


class _History:
    """Reads what is stored for one poll.

    :param position: milliseconds; only what is later counts.
    :param from_now: the position is now, and what is stored from now on counts also if it has the same millisecond.
    :param limit: of the answer, as the client named it, which is kept; 0 and ``None`` for none. What else bounds an answer lets it go on
        to the end of its last millisecond.
    """

    def __init__(self, server, poll, subscription, position, from_now, limit):
        self._server = server
        self._poll = poll
        self._subscription = subscription
        self._position = position
        self._cut = None
        self._left = 0
        self._named_limit = limit or 0
        self._limit = DEFAULT_LIMIT if limit is None else limit or server.settings.limits.list_size or None
        self._time_of = subscription.kind.time_of
        names = None if subscription.names is None else tuple(subscription.names)
        self._query = replace(subscription.kind.by_time(since=position + (not from_now)), names=names)

    async def read(self, until=None):
        """A list of messages, ascending; empty when there are none.

        :param until: milliseconds of the last that may be among them.
        """
        subscription = self._subscription
        query = self._query if until is None else replace(self._query, before=until + 1)
        query = replace(query, device_ids=await few_devices(self._server, subscription))
        pages = self._pages = MessagePages(self._server.messages, subscription.kind.message_kind, self._server.budget, PAGE)
        found, size, self._cut = [], 0, None
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
            # Others have their turn between pages, since a sieve may go through very many.
            await deferLater(self._server.reactor, 0)
        return []

    def answer(self, messages, last):
        """The messages of an answer with those of its last millisecond that were left out. A client may date any number into it, so they
        are read when the client takes them.

        :param last: that millisecond.
        """
        if self._cut is None or self._cut.before > last + 1:
            return Given(messages)
        first = [message for message in messages if self._cut.place(message) <= self._cut.behind]
        self._left = self._named_limit - len(first) if self._named_limit else sys.maxsize
        return _Answer(first, self)

    async def read_rest(self):
        """The next of those that were left out, a list; empty at the end."""
        found = []
        while self._cut is not None and self._left > 0 and not found:
            page, is_last = await self._pages.read(self._cut, PAGE_SIZE)
            found = [message for message in page if await self._wanted(message)][: self._left]
            self._cut = None if is_last else self._pages.following(self._cut, page)
        self._left -= len(found)
        return found

    def _is_full(self, found, size):
        most = self._server.settings.limits.list_bytes
        most = min(most, PAGE_SIZE) if most else PAGE_SIZE
        return bool(found) and ((self._limit is not None and len(found) >= self._limit) or size >= most)

    async def _wanted(self, message):
        if self._time_of(message) <= self._position and self._poll.is_known(message):
            return False
        device = await self._server.entities.get(Device, message.device_id)
        return device is not None and self._subscription.matches(message, device.network_id, device.device_type_id)


class _Answer(Given):
    """The same, and then what is still to be read."""

    def __init__(self, messages, history):
        super().__init__(messages)
        self._history = history

    async def read(self):
        """See :class:`~dhtwisted.actions.lists.Pages`."""
        return await super().read() or await self._history.read_rest()

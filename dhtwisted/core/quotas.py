"""What one user, and one device, may have and start. Every front comes by here, since what is counted is counted in the core.

There are three sorts. What is *kept* counts for the user who made it, and the storage adds it up with each change, for all nodes. What is
*running* is counted by each node for itself. What is stored in a *day* is added up by each node and told to the storage now and then, see
:mod:`dhtwisted.core.stored_today`.
"""

from __future__ import annotations

import sys
from collections import Counter
from contextlib import asynccontextmanager
from typing import Any

from msgspec import Struct
from twisted.internet.defer import Deferred, DeferredLock

from dhtwisted.core.stored_today import StoredToday, Use
from dhtwisted.errors import QuotaExceeded, QuotaExceededForNow
from dhtwisted.model import ADMINISTRATOR, Device, DeviceToken, DeviceType, Holding, Network, User, json_size

KEPT, RUNNING, DAILY = "kept", "running", "daily"
ANY_AMOUNT = sys.maxsize
MOMENT = 1
"""Seconds after which a request may find room that was refused for too many others."""

BYTES_OF_A_MESSAGE = 100
"""What a stored message counts beside its payload: one without any takes room too."""


class Quota(Struct, frozen=True):
    """One quota, which is also an option of ``[quotas]``.

    :ivar name: as configured, as told in refusals, as counted in metrics.
    :ivar default: in bytes, or how many.
    :ivar meaning: one line for the operator, which begins with the unit. Users are told it up to a semicolon.
    :ivar period: :data:`KEPT`, :data:`RUNNING` or :data:`DAILY`.
    :ivar is_size: whether it is in bytes.
    :ivar of_device: whether it is for each device; else for each user.
    """

    name: str
    default: int
    meaning: str
    period: str
    is_size: bool = False
    of_device: bool = False


QUOTAS = {
    quota.name: quota
    for quota in (
        Quota("devices", 10_000, "devices that a user has made", KEPT),
        Quota("networks", 1000, "networks that a user has made", KEPT),
        Quota("device_types", 1000, "device types that a user has made", KEPT),
        Quota("device_tokens", 10_000, "tokens of a user, those for one device each", KEPT),
        Quota("data", 128 * 1024**2, "bytes of data of a user's devices, and of their own", KEPT, is_size=True),
        Quota("device_data", 1024**2, "bytes of data of one device", KEPT, is_size=True, of_device=True),
        Quota("connections", 10_000, "WebSockets of a user, at each server", RUNNING),
        Quota("subscriptions", 50_000, "subscriptions of a user in all connections, at each server", RUNNING),
        Quota("subscription_ids", 250_000, "devices, networks, types and names in these and in long polls, at each server", RUNNING),
        Quota("requests", 20_000, "requests of a user that wait at once, at each server; long polls are among them", RUNNING),
        Quota("stored_per_day", 20 * 1024**3, "bytes of messages that a user stores in a day (UTC)", DAILY, is_size=True),
        Quota("device_stored_per_day", 2 * 1024**3, "bytes of messages of one device in a day", DAILY, is_size=True, of_device=True),
    )
}

_COUNTED = {"devices": Device, "networks": Network, "device_types": DeviceType, "device_tokens": DeviceToken}


class UserAccount:
    """What one user has running, and what is being kept for them now.

    :ivar connections: how many; the other three likewise.
    :ivar today: the :class:`~dhtwisted.core.stored_today.Use` of what they store.
    :ivar pending: name of a quota -> what may be stored any moment, and the storage may not know yet.
    :ivar settled: the same for all that has been settled since the start.
    """

    __slots__ = ("_waiting", "connections", "pending", "requests", "settled", "subscription_ids", "subscriptions", "today", "user_id")

    def __init__(self, user_id):
        self.user_id = user_id
        self.connections = self.subscriptions = self.subscription_ids = self.requests = 0
        self.today = Use(f"user {user_id}")
        self.pending: Counter[str] = Counter()
        self.settled: Counter[str] = Counter()
        self._waiting: list[Deferred] = []

    @property
    def is_idle(self):
        """Whether nothing is counted here now."""
        return not (self.connections or self.requests or self.today.stored or +self.pending)

    def settle(self, amounts):
        """Take amounts out of :attr:`pending`: they are stored, or will not be."""
        self.pending.subtract(amounts)
        self.settled.update(amounts)
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(None)

    def next_settled(self):
        """A Deferred that fires when something is settled."""
        waiting: Deferred = Deferred()
        self._waiting.append(waiting)
        return waiting


class Quotas:
    """Counts for all users of one server, and refuses.

    Administrators have ``administrators`` times as much: they set up what many use, and could make more users whenever a quota of their own
    was used up; but a program that runs wild with their token should end somewhere too.

    :param reactor: gives the time.
    :param settings: a ``config.QuotaSettings``.
    :param storage: the ``IEntityStorage``.
    :param entities: the :class:`~dhtwisted.core.entity_cache.Entities`.
    :param refused: called with the name of a quota that was used up.
    :ivar most_requests: what one user may have waiting before :meth:`check_request` must be asked.
    """

    def __init__(self, reactor, settings, storage, entities, refused):
        self._storage = storage
        self._entities = entities
        self._refused = refused
        self._accounts: dict[int, UserAccount] = {}
        self._changing: dict[tuple, DeferredLock] = {}
        self._stored = StoredToday(reactor, storage, self._users_today, self._new_day)
        self.set_limits(settings)

    def set_limits(self, settings):
        """Take on other settings; what is above them stays, and gets no more."""
        self._settings = settings
        self.most_requests = settings.requests or ANY_AMOUNT
        self._stored.look_at_all()

    async def start(self):
        """Learn what was stored today."""
        await self._stored.start(self.account)

    def account(self, user_id):
        """The :class:`UserAccount` of a user."""
        account = self._accounts.get(user_id)
        if account is None:
            account = self._accounts[user_id] = UserAccount(user_id)
        return account

    def limit(self, name, user_id=None):
        """How much there may be; 0 for any amount.

        :param user_id: whose it is; ``None`` for a quota of devices.
        """
        limit = getattr(self._settings, name)
        user = None if user_id is None else self._entities.user(user_id)
        return limit * self._settings.administrators if user is not None and user.role == ADMINISTRATOR else limit

    # What is kept

    @asynccontextmanager
    async def keeping(self, user_id, **amounts):
        """Let a block add to what is kept for a user. Whatever becomes of it, the storage alone says afterwards how much there is.

        :param user_id: ``None`` for nobody.
        :param amounts: name of a quota -> how much more there will be at most. What is not above 0 is permitted to everybody.
        :raises QuotaExceeded: there is no room; the block is not entered.
        """
        amounts = {name: amount for name, amount in amounts.items() if amount > 0 and getattr(self._settings, name)}
        if user_id is None or not amounts:
            yield
            return
        account = self.account(user_id)
        await self._reserve(account, amounts)
        try:
            yield
        finally:
            account.settle(amounts)

    @asynccontextmanager
    async def changing_data(self, request, user_id, entity, data):
        """Let a block give an entity other ``data``, within what a user may keep. One change comes after the other, and what it adds is
        reckoned from what the one before left: else a device that shrinks and grows at the same time would seem to leave room.

        :param request: waits for its turn no longer than it has time.
        :param user_id: whose data it is; ``None`` for nobody's.
        :param data: bytes, or ``None``.
        :raises QuotaExceeded: there is no room; the block is not entered.
        """
        kind, key = place = type(entity), entity.key
        lock = self._changing.setdefault(place, DeferredLock())
        try:
            async with lock:
                request.check_in_time()
                before = await self._entities.get(kind, key) or entity
                async with self.keeping(user_id, data=json_size(data) - json_size(before.data)):
                    yield
        finally:
            if self._changing.get(place) is lock and not lock.locked:
                del self._changing[place]

    async def _reserve(self, account, amounts):
        """Find room, and take it. What is pending may be in the storage's answer already: so it refuses nobody until it is settled."""
        # Known from here on, so that their role counts.
        await self._entities.get(User, account.user_id)
        while True:
            settled = account.settled.copy()
            used = Counter(await self._kept(account.user_id))
            used.update(account.pending)
            used.update(account.settled - settled)
            full = [name for name, amount in amounts.items() if used[name] + amount > (self.limit(name, account.user_id) or ANY_AMOUNT)]
            if not full:
                account.pending.update(amounts)
                return
            if +account.pending:
                await account.next_settled()
            elif account.settled == settled:
                raise self._used_up(full[0], account.user_id)

    async def _kept(self, user_id):
        holdings, user = await self._storage.holdings(user_id), await self._entities.get(User, user_id)
        counts = {name: holdings.get(kind, Holding()).count for name, kind in _COUNTED.items()}
        data = sum(held.size for held in holdings.values()) + (0 if user is None else json_size(user.data))
        return counts | {"data": data}

    def check_device_data(self, data):
        """Let through the data of a device.

        :param data: bytes, or ``None``.
        :raises QuotaExceeded: it is too large.
        """
        limit = self.limit("device_data")
        if limit and data is not None and len(data) > limit:
            raise self._used_up("device_data")

    # What is running

    def take(self, account, **amounts):
        """Count what a user starts: all of it, or nothing.

        :param amounts: name of a quota that is :data:`RUNNING` -> how much more.
        :raises QuotaExceeded: there is no room.
        """
        self.check(account, **amounts)
        for name, amount in amounts.items():
            setattr(account, name, getattr(account, name) + amount)

    def check(self, account, **amounts):
        """Let through what a user is about to start; as :meth:`take`, but nothing is counted."""
        for name, amount in amounts.items():
            limit = self.limit(name, account.user_id)
            if limit and amount and getattr(account, name) + amount > limit:
                raise self._used_up(name, account.user_id)

    def give_back(self, account, **amounts):
        """Count what has ended no longer."""
        for name, amount in amounts.items():
            setattr(account, name, getattr(account, name) - amount)

    def check_request(self, account):
        """Let through a request of a user who has :attr:`most_requests` waiting.

        :raises QuotaExceededForNow: they may have no more.
        """
        limit = self.limit("requests", account.user_id)
        if limit and account.requests >= limit:
            raise self._used_up("requests", account.user_id, MOMENT)

    # What is stored in a day

    def store(self, request, device_id, size):
        """Count a message that is about to be stored; :meth:`take_back` when it was not.

        :param request: by its ``charge`` it is known what to take back.
        :param size: bytes of its payload.
        :raises QuotaExceededForNow: the user or the device has stored enough today.
        """
        request.charge = size = size + BYTES_OF_A_MESSAGE
        stored, account = self._stored, request.principal.account
        of_user, of_device = account.today, stored.devices.get(device_id) or stored.of_device(device_id)
        of_user.stored += size
        of_device.stored += size
        if of_user.stored > of_user.mark:
            self._look("stored_per_day", of_user, size, account.user_id)
        if of_device.stored > of_device.mark:
            self._look("device_stored_per_day", of_device, size)

    def _look(self, name, use, size, user_id=None):
        if not self._stored.look(use, self.limit(name, user_id), size):
            raise self._used_up(name, user_id, self._stored.seconds_left)

    def take_back(self, request):
        """Count no longer what a request was to store and did not."""
        of_device = self._stored.of_device(request.fields.device_id)
        for use in (request.principal.account.today, of_device):
            use.stored = max(0, use.stored - request.charge)
        request.charge = 0

    def _users_today(self):
        return [account.today for account in self._accounts.values()]

    def _new_day(self):
        self._accounts = {user_id: account for user_id, account in self._accounts.items() if not account.is_idle}

    # What is told

    async def use(self, user_id):
        """What a user has of each of their quotas.

        :returns: a dict: name -> ``(used, limit)``; the limit is ``None`` for any amount.
        """
        account = self.account(user_id)
        used: dict[str, Any] = await self._kept(user_id)
        used |= {name: getattr(account, name) for name, quota in QUOTAS.items() if quota.period == RUNNING}
        used["stored_per_day"] = await self._stored.read(account.today)
        return {name: (used[name], self.limit(name, user_id) or None) for name, quota in QUOTAS.items() if not quota.of_device}

    def _used_up(self, name, user_id=None, seconds=None):
        self._refused(name)
        amount = f"{self.limit(name, user_id)} {QUOTAS[name].meaning.partition(';')[0]}"
        return QuotaExceeded(name, amount) if seconds is None else QuotaExceededForNow(name, amount, seconds)

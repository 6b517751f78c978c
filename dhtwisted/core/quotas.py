"""How much one user or one device may have and start, on every front.

There are three sorts. What is *kept* counts for the user who created it; the storage adds it up with each change, for all nodes. What is
*running* is counted by each node for itself. What is stored in a *day* is counted by each node and added to the storage now and then, see
:mod:`dhtwisted.core.stored_today`.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from msgspec import Struct
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IReactorTime

from dhtwisted.core.entity_cache import EntityCache
from dhtwisted.core.stored_today import DailyUse, StoredToday
from dhtwisted.errors import QuotaExceeded, QuotaExceededForNow
from dhtwisted.interfaces import IEntityStorage
from dhtwisted.model import ADMINISTRATOR, Device, DeviceToken, DeviceType, Entity, Holding, Network, User, json_size

KEPT, RUNNING, DAILY = "kept", "running", "daily"
ANY_AMOUNT = sys.maxsize
MOMENT = 1
"""Seconds after which a request may succeed that was refused since too many others were waiting."""

BYTES_OF_A_MESSAGE = 100
"""What a stored message counts besides its payload: one without any needs space too."""


class Quota(Struct, frozen=True):
    """One quota, which is also an option of ``[quotas]``.

    :ivar name: in the configuration, in errors and in metrics.
    :ivar default: in bytes, or how many.
    :ivar meaning: one line for the operator, which begins with the unit. Errors have it up to a semicolon.
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

_COUNTED: dict[str, type[Entity]] = {"devices": Device, "networks": Network, "device_types": DeviceType, "device_tokens": DeviceToken}


def _nobody() -> None:
    """A weak reference to nothing."""


class UserAccount:
    """What one user has running, and what is being stored for them now.

    :ivar connections: how many; the other three likewise.
    :ivar today: how much they have stored today.
    :ivar pending: name of a quota -> what is being stored; the storage may count it already or not yet.
    :ivar settled: the same for all that is no longer pending, since the start.
    :ivar latest_principal: a weak reference to the principal of the token that was used last.
    """

    __slots__ = (
        "_waiting",
        "connections",
        "latest_principal",
        "pending",
        "requests",
        "settled",
        "subscription_ids",
        "subscriptions",
        "today",
        "user_id",
    )

    def __init__(self, user_id: int) -> None:
        self.user_id = user_id
        self.connections = self.subscriptions = self.subscription_ids = self.requests = 0
        self.today = DailyUse(f"user {user_id}")
        self.pending: Counter[str] = Counter()
        self.settled: Counter[str] = Counter()
        self._waiting: list[Deferred] = []
        self.latest_principal: Callable[[], Any] = _nobody

    @property
    def is_idle(self) -> bool:
        """Whether nothing is counted here now."""
        return not (self.connections or self.requests or self.today.stored or +self.pending)

    def settle(self, amounts: dict[str, int]) -> None:
        """Take amounts out of :attr:`pending`: they are stored, or never will be."""
        self.pending.subtract(amounts)
        self.settled.update(amounts)
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(None)

    def next_settled(self) -> Deferred:
        """A Deferred that fires when something is settled."""
        waiting: Deferred = Deferred()
        self._waiting.append(waiting)
        return waiting


class Quotas:
    """Counts for all users of one server, and refuses what is above a quota.

    Administrators may have ``administrators`` times as much: they set up what many use, and could create more users whenever their own
    quota was used up. But a faulty program with their token must have a limit too.

    :param reactor: gives the time.
    :param settings: a ``config.QuotaSettings``.
    :param storage: the ``IEntityStorage``.
    :param refused: called with the name of a quota that was used up.
    :ivar most_requests: how many requests of one user may wait before :meth:`check_request` must be called.
    """

    def __init__(
        self, reactor: IReactorTime, settings: Any, storage: IEntityStorage, entities: EntityCache, refused: Callable[[str], None]
    ) -> None:
        self._storage = storage
        self._entities = entities
        self._refused = refused
        self._accounts: dict[int, UserAccount] = {}
        self._changing: dict[tuple, DeferredLock] = {}
        self._stored = StoredToday(reactor, storage, self._users_today, self._new_day)
        self.set_limits(settings)

    def set_limits(self, settings: Any) -> None:
        """Use other settings. What is above them stays, but may not grow.

        :param settings: a ``config.QuotaSettings``.
        """
        self._settings = settings
        self.most_requests = settings.requests or ANY_AMOUNT
        self._stored.check_all_again()

    async def start(self) -> None:
        """Read what was stored today."""
        await self._stored.start(lambda user_id: self.account(user_id).today)

    def account(self, user_id: int) -> UserAccount:
        """The account of a user."""
        account = self._accounts.get(user_id)
        if account is None:
            account = self._accounts[user_id] = UserAccount(user_id)
        return account

    def limit(self, name: str, user_id: int | None = None) -> int:
        """The limit of a quota; 0 for any amount.

        :param user_id: whose quota; ``None`` for a quota of devices.
        """
        limit = getattr(self._settings, name)
        user = None if user_id is None else self._entities.user(user_id)
        return limit * self._settings.administrators if user is not None and user.role == ADMINISTRATOR else limit

    # What is kept

    @asynccontextmanager
    async def keeping(self, user_id: int | None, **amounts: int) -> AsyncIterator[None]:
        """Reserve what a block adds to what is kept for a user. Afterwards the storage alone says how much there is, also when the block
        fails.

        :param user_id: ``None`` for nobody.
        :param amounts: name of a quota -> how much more there will be at most. An amount that is not above 0 is always permitted.
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
    async def changing_data(self, request: Any, user_id: int | None, entity: Any, data: bytes | None) -> AsyncIterator[None]:
        """Reserve what a block adds to the ``data`` of an entity. Changes of one entity run one after the other, and each counts from what
        the one before left: else a device whose data shrink and grow at the same time would seem to leave room.

        :param request: its deadline also holds for the wait.
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

    async def _reserve(self, account: UserAccount, amounts: dict[str, int]) -> None:
        """Reserve amounts. The storage's answer may contain pending ones already, so these refuse nothing until they are settled."""
        # It is cached from here on, so that its role counts.
        await self._entities.get(User, account.user_id)
        while True:
            settled = account.settled.copy()
            used: Counter[str] = Counter(await self._kept(account.user_id))
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

    async def _kept(self, user_id: int) -> dict[str, int]:
        holdings, user = await self._storage.holdings(user_id), await self._entities.get(User, user_id)
        counts = {name: holdings.get(kind, Holding()).count for name, kind in _COUNTED.items()}
        data = sum(held.size for held in holdings.values()) + (0 if user is None else json_size(user.data))
        return counts | {"data": data}

    def check_device_data(self, data: bytes | None) -> None:
        """Check the size of the data of a device.

        :raises QuotaExceeded: it is too large.
        """
        limit = self.limit("device_data")
        if limit and data is not None and len(data) > limit:
            raise self._used_up("device_data")

    # What is running

    def take(self, account: UserAccount, **amounts: int) -> None:
        """Count what a user starts: all of it, or nothing.

        :param amounts: name of a quota that is :data:`RUNNING` -> how much more.
        :raises QuotaExceeded: there is no room.
        """
        self.check(account, **amounts)
        for name, amount in amounts.items():
            setattr(account, name, getattr(account, name) + amount)

    def check(self, account: UserAccount, **amounts: int) -> None:
        """As :meth:`take`, but nothing is counted."""
        for name, amount in amounts.items():
            limit = self.limit(name, account.user_id)
            if limit and amount and getattr(account, name) + amount > limit:
                raise self._used_up(name, account.user_id)

    def give_back(self, account: UserAccount, **amounts: int) -> None:
        """Undo :meth:`take` for what has ended."""
        for name, amount in amounts.items():
            setattr(account, name, getattr(account, name) - amount)

    def check_request(self, account: UserAccount) -> None:
        """Check a request of a user who has :attr:`most_requests` waiting.

        :raises QuotaExceededForNow: they may have no more.
        """
        limit = self.limit("requests", account.user_id)
        if limit and account.requests >= limit:
            raise self._used_up("requests", account.user_id, MOMENT)

    # What is stored in a day

    def store(self, request: Any, device_id: str, size: int) -> None:
        """Count a message that is about to be stored; :meth:`take_back` undoes it.

        :param request: its ``charge`` keeps what was counted.
        :param size: bytes of its payload.
        :raises QuotaExceededForNow: the user or the device has stored enough today.
        """
        request.charge = size = size + BYTES_OF_A_MESSAGE
        stored, account = self._stored, request.principal.account
        of_user, of_device = account.today, stored.devices.get(device_id) or stored.of_device(device_id)
        of_user.stored += size
        of_device.stored += size
        if of_user.stored > of_user.check_above:
            self._check_today("stored_per_day", of_user, size, account.user_id)
        if of_device.stored > of_device.check_above:
            self._check_today("device_stored_per_day", of_device, size)

    def store_together(self, account: UserAccount, charges: dict[str, int]) -> bool:
        """Count messages that are about to be stored, if there is room for all of them.

        :param charges: device id -> bytes of the payloads of its messages, and :data:`BYTES_OF_A_MESSAGE` for each.
        :returns: whether they were counted. If not, :meth:`store` must decide about each.
        """
        total = sum(charges.values())
        counted = []
        if self._add("stored_per_day", account.today, total, account.user_id):
            counted.append((account.today, total))
            for device_id, charge in charges.items():
                use = self._stored.of_device(device_id)
                if not self._add("device_stored_per_day", use, charge):
                    break
                counted.append((use, charge))
            else:
                return True
        for use, charge in counted:
            # A day may have begun since.
            use.stored = max(0, use.stored - charge)
        return False

    def _add(self, name: str, use: DailyUse, size: int, user_id: int | None = None) -> bool:
        use.stored += size
        if use.stored <= use.check_above or self._stored.check(use, self.limit(name, user_id), size):
            return True
        use.stored -= size
        return False

    def _check_today(self, name: str, use: DailyUse, size: int, user_id: int | None = None) -> None:
        if not self._stored.check(use, self.limit(name, user_id), size):
            raise self._used_up(name, user_id, self._stored.seconds_left)

    def take_back(self, request: Any) -> None:
        """Undo :meth:`store` for a request that has stored nothing."""
        of_device = self._stored.of_device(request.fields.device_id)
        for use in (request.principal.account.today, of_device):
            use.stored = max(0, use.stored - request.charge)
        request.charge = 0

    def _users_today(self) -> list[DailyUse]:
        return [account.today for account in self._accounts.values()]

    def _new_day(self) -> None:
        self._accounts = {user_id: account for user_id, account in self._accounts.items() if not account.is_idle}

    # What users can read

    async def use(self, user_id: int) -> dict[str, tuple[int, int | None]]:
        """How much a user has used of each of their quotas.

        :returns: name -> ``(used, limit)``; the limit is ``None`` for any amount.
        """
        account = self.account(user_id)
        used: dict[str, Any] = await self._kept(user_id)
        used |= {name: getattr(account, name) for name, quota in QUOTAS.items() if quota.period == RUNNING}
        used["stored_per_day"] = await self._stored.read(account.today)
        return {name: (used[name], self.limit(name, user_id) or None) for name, quota in QUOTAS.items() if not quota.of_device}

    def _used_up(self, name: str, user_id: int | None = None, seconds: float | None = None) -> QuotaExceeded | QuotaExceededForNow:
        self._refused(name)
        amount = f"{self.limit(name, user_id)} {QUOTAS[name].meaning.partition(';')[0]}"
        return QuotaExceeded(name, amount) if seconds is None else QuotaExceededForNow(name, amount, seconds)

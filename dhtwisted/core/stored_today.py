"""How much users and devices have stored today, at the price of two additions for each message.

Each node counts in memory, and adds to the storage when a hundredth of a quota has come together. The answer says what all nodes have
added. So a restart or a second node gives back a hundredth of a quota at most. A user who stores less than a hundredth of their quota in a
day, as nearly all do, costs no write at all. A day is one of UTC; a new day is noticed when something must be checked.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from functools import partial
from time import gmtime, strftime
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from dhtwisted.core.coroutines import run
from dhtwisted.errors import Duplicate, Missing
from dhtwisted.interfaces import IEntityStorage
from dhtwisted.model import Added, EntityQuery, StoredBytes

DAY = 86_400
PARTS = 100
"""The storage is updated after each of so many parts of a quota."""

MAX_DEVICES = 100_000
"""Devices in memory. With one more, the first is dropped; it is found in the storage after it has used a hundredth again."""

NEVER = sys.maxsize


class DailyUse:
    """What one user or one device has stored today.

    :ivar owner: whose it is, such as ``user 3``.
    :ivar stored: bytes, as far as this node knows.
    :ivar reported: bytes of these that the storage knows.
    :ivar check_above: when more than this is stored, :meth:`StoredToday.check` must be called.
    :ivar is_reporting: whether the storage is being updated now.
    """

    __slots__ = ("check_above", "is_reporting", "owner", "reported", "stored")

    def __init__(self, owner: str) -> None:
        self.owner = owner
        self.is_reporting = False
        self.begin_day()

    def begin_day(self, stored: int = 0) -> None:
        """Begin a day.

        :param stored: bytes that the storage knows of it already.
        """
        self.stored = self.reported = stored
        self.check_above = 0


class StoredToday:
    """Counts what devices have stored, and updates the storage for users and devices.

    :param reactor: gives the time.
    :param users: gives the uses of all users.
    :param new_day: called when a day has begun.
    :ivar devices: device id -> its :class:`DailyUse`, for those that stored something.
    """

    log = Logger()

    def __init__(
        self, reactor: IReactorTime, storage: IEntityStorage, users: Callable[[], Iterable[DailyUse]], new_day: Callable[[], None]
    ) -> None:
        self._reactor = reactor
        self._storage = storage
        self._users = users
        self._on_new_day = new_day
        self._day = self._today()
        self.devices: dict[str, DailyUse] = {}

    async def start(self, user: Callable[[int], DailyUse]) -> None:
        """Read what was stored before this node began, and delete other days.

        :param user: gives the use of a user, from their id.
        """
        for row in await self._storage.find(StoredBytes, EntityQuery()):
            day, kind, owner = row.id.split(" ", 2)
            if day != self._day:
                await self._storage.delete(StoredBytes, row.id)
            else:
                (user(int(owner)) if kind == "user" else self.of_device(owner)).begin_day(row.size)

    @property
    def seconds_left(self) -> float:
        """Until the day ends."""
        return DAY - self._reactor.seconds() % DAY

    def of_device(self, device_id: str) -> DailyUse:
        """The use of a device."""
        use = self.devices.get(device_id)
        if use is None:
            use = self.devices[device_id] = DailyUse(f"device {device_id}")
            if len(self.devices) > MAX_DEVICES:
                del self.devices[next(iter(self.devices))]
        return use

    def check_all_again(self) -> None:
        """Check every use at its next message, since the quotas have changed."""
        for use in (*self._users(), *self.devices.values()):
            use.check_above = 0

    def check(self, use: DailyUse, limit: int, size: int) -> bool:
        """Check a use that has passed its :attr:`~DailyUse.check_above`, and update the storage when a part is full.

        :param limit: 0 for any amount.
        :param size: bytes that have just been added.
        :returns: whether the use is within its quota.
        """
        if self._begin_day():
            use.stored = size
        if not limit:
            use.check_above = NEVER
            return True
        part = max(1, limit // PARTS)
        if use.stored > limit:
            self._report(use, use.stored - size - use.reported)
            return False
        use.check_above = min(limit, use.stored + part)
        if use.stored - use.reported >= part:
            self._report(use, use.stored - use.reported)
        return True

    async def read(self, use: DailyUse) -> int:
        """How much is stored today, with what other nodes have added to the storage."""
        self._begin_day()
        row = await self._storage.get(StoredBytes, self._key(use))
        return (0 if row is None else row.size) + use.stored - use.reported

    def _key(self, use: DailyUse) -> str:
        return f"{self._day} {use.owner}"

    def _report(self, use: DailyUse, amount: int) -> None:
        if amount and not use.is_reporting:
            use.is_reporting = True
            run(self._add(self._key(use), amount), partial(self._reported, use, amount, self._day))

    async def _add(self, key: str, amount: int) -> Any:
        added = {"size": Added(amount)}
        try:
            return await self._storage.update(StoredBytes, key, added)
        except Missing:
            try:
                return await self._storage.insert(StoredBytes(id=key, size=amount))
            except Duplicate:
                # Another node was faster.
                return await self._storage.update(StoredBytes, key, added)

    def _reported(self, use: DailyUse, amount: int, day: str, row: StoredBytes, error: BaseException | None) -> None:
        use.is_reporting = False
        if error is not None:
            self.log.warn(
                "The storage did not record what {owner} stored today, which is tried again later: {error}",
                owner=use.owner,
                error=str(error),
            )
        elif day == self._day:
            use.stored += row.size - use.reported - amount
            use.reported = row.size

    def _begin_day(self) -> bool:
        """Begin a new day, if it is one."""
        if self._today() == self._day:
            return False
        self._day = self._today()
        self.devices.clear()
        for use in self._users():
            use.begin_day()
        self._on_new_day()
        run(self._delete_other_days(), self._deleted)
        return True

    async def _delete_other_days(self) -> None:
        for row in await self._storage.find(StoredBytes, EntityQuery()):
            if not row.id.startswith(self._day):
                await self._storage.delete(StoredBytes, row.id)

    def _deleted(self, _: None, error: BaseException | None) -> None:
        if error is not None:
            self.log.warn("Counts of other days could not be deleted, which is tried again tomorrow: {error}", error=str(error))

    def _today(self) -> str:
        return strftime("%Y%m%d", gmtime(self._reactor.seconds()))

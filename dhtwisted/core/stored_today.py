"""How much users and devices have stored today, at the price of two additions for a message.

Each node counts in memory, and tells the storage when a hundredth of a quota has come together; in the answer it finds what all nodes have
told. So a restart, or a node beside this one, gives back a hundredth of a quota at most, and those who never use a hundredth of theirs in a
day, which is nearly everybody, cost no write at all. A day is one of UTC; that it is another one is seen when there is something to tell.
"""

from __future__ import annotations

import sys
from functools import partial
from time import gmtime, strftime

from twisted.logger import Logger

from dhtwisted.core.coroutines import run
from dhtwisted.errors import Duplicate, Missing
from dhtwisted.model import Added, EntityQuery, StoredBytes

DAY = 86_400
PARTS = 100
"""In so many parts of a quota the storage is told."""

MAX_DEVICES = 100_000
"""Devices that are remembered. One more, and the first is forgotten: it is found in the storage when it has used a hundredth again."""

NEVER = sys.maxsize


class Use:
    """What one user or one device has stored today.

    :ivar owner: whose, such as ``user 3``.
    :ivar stored: bytes, as far as this node knows.
    :ivar told: what of that the storage knows.
    :ivar mark: above this it must be looked at, see :meth:`StoredToday.look`.
    :ivar is_telling: whether the storage is being told.
    """

    __slots__ = ("is_telling", "mark", "owner", "stored", "told")

    def __init__(self, owner):
        self.owner = owner
        self.is_telling = False
        self.begin()

    def begin(self, stored=0):
        """Begin a day, of which the storage knows so much already."""
        self.stored = self.told = stored
        self.mark = 0


class StoredToday:
    """Keeps what devices have stored, and tells the storage of users and devices.

    :param reactor: gives the time.
    :param storage: the ``IEntityStorage``.
    :param users: gives all uses of users.
    :param new_day: called when a day has begun.
    :ivar devices: id of a device -> its :class:`Use`, for those that stored something.
    """

    log = Logger()

    def __init__(self, reactor, storage, users, new_day):
        self._reactor = reactor
        self._storage = storage
        self._users = users
        self._on_new_day = new_day
        self._day = self._today()
        self.devices: dict[str, Use] = {}

    async def start(self, account):
        """Read what was stored before this node began, and forget other days.

        :param account: gives the account of a user's id.
        """
        for row in await self._storage.find(StoredBytes, EntityQuery()):
            day, kind, owner = row.id.split(" ", 2)
            if day != self._day:
                await self._storage.delete(StoredBytes, row.id)
            else:
                (account(int(owner)).today if kind == "user" else self.of_device(owner)).begin(row.size)

    @property
    def seconds_left(self):
        """Until the day ends."""
        return DAY - self._reactor.seconds() % DAY

    def of_device(self, device_id):
        """The :class:`Use` of a device."""
        use = self.devices.get(device_id)
        if use is None:
            use = self.devices[device_id] = Use(f"device {device_id}")
            if len(self.devices) > MAX_DEVICES:
                del self.devices[next(iter(self.devices))]
        return use

    def look_at_all(self):
        """Have everything looked at, since the quotas are others."""
        for use in (*self._users(), *self.devices.values()):
            use.mark = 0

    def look(self, use, limit, size):
        """Find out whether a use that has passed its mark is within its quota, and tell the storage when it is time.

        :param limit: 0 for any amount.
        :param size: what has just been added.
        :returns: false when it is above.
        """
        if self._begin_day():
            use.stored = size
        if not limit:
            use.mark = NEVER
            return True
        part = max(1, limit // PARTS)
        if use.stored > limit:
            self._tell(use, use.stored - size - use.told)
            return False
        use.mark = min(limit, use.stored + part)
        if use.stored - use.told >= part:
            self._tell(use, use.stored - use.told)
        return True

    async def read(self, use):
        """How much it is now, with what other nodes have told."""
        self._begin_day()
        row = await self._storage.get(StoredBytes, self._key(use))
        return (0 if row is None else row.size) + use.stored - use.told

    def _key(self, use):
        return f"{self._day} {use.owner}"

    def _tell(self, use, amount):
        if amount and not use.is_telling:
            use.is_telling = True
            run(self._add(self._key(use), amount), partial(self._told, use, amount, self._day))

    async def _add(self, key, amount):
        added = {"size": Added(amount)}
        try:
            return await self._storage.update(StoredBytes, key, added)
        except Missing:
            try:
                return await self._storage.insert(StoredBytes(id=key, size=amount))
            except Duplicate:
                # Another node was faster.
                return await self._storage.update(StoredBytes, key, added)

    def _told(self, use, amount, day, row, error):
        use.is_telling = False
        if error is not None:
            self.log.warn("What {owner} stored today is kept with the next part: {error}", owner=use.owner, error=str(error))
        elif day == self._day:
            use.stored += row.size - use.told - amount
            use.told = row.size

    def _begin_day(self):
        """Begin another day, if it is one."""
        if self._today() == self._day:
            return False
        self._day = self._today()
        self.devices.clear()
        for use in self._users():
            use.begin()
        self._on_new_day()
        run(self._forget_other_days(), self._forgotten)
        return True

    async def _forget_other_days(self):
        for row in await self._storage.find(StoredBytes, EntityQuery()):
            if not row.id.startswith(self._day):
                await self._storage.delete(StoredBytes, row.id)

    def _forgotten(self, _, error):
        if error is not None:
            self.log.warn("What was stored on other days is not forgotten now, and will be tomorrow: {error}", error=str(error))

    def _today(self):
        return strftime("%Y%m%d", gmtime(self._reactor.seconds()))

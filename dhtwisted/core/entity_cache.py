"""A write-through cache over the entity storage, so that rights and devices are looked up in memory on the hot path.

Other nodes change entities too, and tell by the bus, so the storage may answer with something older or newer than what was heard
meanwhile. One rule keeps the cache right: an answer counts only if, since it was asked for, this node neither wrote the same entity nor
heard of a change of it; otherwise the storage is asked again.
"""

from __future__ import annotations

from functools import partial

from msgspec.structs import asdict
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import directlyProvides

from dhtwisted.core.coroutines import run
from dhtwisted.core.entity_lookups import Lookups
from dhtwisted.core.request_deadlines import PATIENCE
from dhtwisted.errors import DeadlinePassed, Unstorable
from dhtwisted.interfaces import IBoundedAnswers
from dhtwisted.kit.bounded_cache import BoundedCache
from dhtwisted.model import Device, DeviceToken, EntityQuery, User, entity_size

MAX_DEVICES = 100_000
MAX_DEVICE_BYTES = 64 * 1024**2
"""Of the ``data`` of devices in the cache."""

LASTING = (User, DeviceToken)
"""Kinds that stay in the cache once they were asked for, and by which answers about rights are reckoned."""

JSON_FIELD = "data"
"""The field that a query cannot ask for, and that may be a megabyte."""

MAX_KEYS = 500
"""Entities that are asked for in one query."""

MAX_REMEMBERED = 10_000
"""Entities whose last change is remembered. One more, and all that are being read count as changed: they are read once more."""


class _Reading:
    """An entity that is being read, for all who ask meanwhile. When the answer does not come in time they are told so, and who asks next
    asks the storage anew, instead of waiting behind them.

    :param waiting: the Deferred of the first.
    :param due: its deadline.
    :param answer: called once with all of them, and an entity and ``None``, or ``None`` and an exception.
    """

    __slots__ = ("_answer", "_due", "is_answered", "waiters")

    def __init__(self, waiting, due, answer):
        self.waiters = [waiting]
        self.is_answered = False
        self._due = due
        self._answer = answer

    def tell(self, entity, error):
        """Answer, unless it was too late."""
        if not self.is_answered:
            self.is_answered = True
            self._answer(self.waiters, entity, error)

    def answer_due(self, sweep):
        """See :meth:`Deadlines.watch() <dhtwisted.core.request_deadlines.Deadlines.watch>`."""
        if not self.is_answered and sweep >= self._due:
            self.tell(None, DeadlinePassed(PATIENCE))
        return not self.is_answered


class Entities:
    """Users, tokens of devices, and devices as they are now. All of the server's entity reads and writes pass here.

    :data:`LASTING` ones stay in the cache, since open connections are checked against them without waiting; devices make room for others
    above :data:`MAX_DEVICES` and :data:`MAX_DEVICE_BYTES`, the longest known first.

    :param storage: an opened ``IEntityStorage``.
    :param publish_change: called with kind and key of what was written here, as ``IMessageBus.publish_change``.
    :param deadlines: the :class:`~dhtwisted.core.request_deadlines.Deadlines` of this server.
    :ivar user: ``user(user_id)``: the user as he is now, without waiting; ``None`` when he was deleted or nobody asked for him by
        :meth:`get`.
    :ivar device_token: the same for a :class:`~dhtwisted.model.DeviceToken`.
    :ivar device: ``device(device_id)``: the device as it is now, without waiting; ``None`` when it is not at hand.
    :ivar reading: what is being read now, and who waits for it: ``(kind, key)`` -> an object.
    :ivar users_epoch: grows with every change of a user or a device's token, for whoever keeps something computed from them.
    """

    def __init__(self, storage, publish_change, deadlines):
        self._storage = storage
        self._deadlines = deadlines
        self._publish_change = publish_change
        self._lookups = Lookups(storage)
        self._devices = BoundedCache(MAX_DEVICES, MAX_DEVICE_BYTES, lambda _, device: entity_size(device))
        self._known = {User: {}, DeviceToken: {}, Device: self._devices}
        self.reading = {}
        self._changes = 0
        self._changed_at = {}
        self._all_changed_at = 0
        self.user = self._known[User].get
        self.device_token = self._known[DeviceToken].get
        self.device = self._known[Device].get
        self.users_epoch = 0
        self.find = storage.find
        if IBoundedAnswers.providedBy(storage):
            directlyProvides(self, IBoundedAnswers)
        self.count = storage.count

    def sizes(self):
        """How many entities the cache holds, by the name of their kind."""
        return {kind.__name__.lower(): len(known) for kind, known in self._known.items()}

    async def get(self, kind, key):
        """Find one entity; ``None`` when there is none."""
        known = self._known.get(kind)
        if known is None:
            return await self._storage.get(kind, key)
        entity = None if (kind, key) in self.reading else known.get(key)
        return await self._read_shared(kind, key) if entity is None else entity

    async def _read_shared(self, kind, key):
        """Read an entity once for all who ask meanwhile. They go on in the order in which they asked: requests of one client for one device
        must not overtake each other because its device was not at hand.
        """
        waiting = Deferred()
        reading = self.reading.get((kind, key))
        if reading is not None:
            reading.waiters.append(waiting)
            return await waiting
        reading = self.reading[kind, key] = _Reading(waiting, self._deadlines.due(), partial(self._tell, (kind, key)))
        run(self._read(kind, key), reading.tell)
        if not reading.is_answered:
            self._deadlines.watch(reading)
        return await waiting

    def _tell(self, place, waiters, entity, error):
        # Whoever asks while they are told is told after them.
        for waiting in waiters:
            if error is None:
                waiting.callback(entity)
            else:
                waiting.errback(Failure(error))
        del self.reading[place]

    async def _read(self, kind, key):
        entity = None
        while entity is None:
            asked_at = self._changes
            entity = await self._lookups.get(kind, key)
            if not self._is_changed(kind, key, asked_at):
                if entity is not None:
                    self._keep(kind, key, entity)
                return entity
            entity = self._known[kind].get(key)
        return entity

    async def fetch(self, kind, keys):
        """Have the cache say of these what the storage says now. What is in the cache stays there until the storage has answered.

        :param kind: one that the cache has.
        :returns: a list of those keys that are no entities.
        """
        keys, missing = list(keys), []
        while keys:
            asked, asked_at = frozenset(keys[:MAX_KEYS]), self._changes
            found = await self._storage.find(kind, EntityQuery(within={kind.KEY: asked}))
            found = {entity.key: entity for entity in found}
            overtaken = [key for key in asked if self._is_changed(kind, key, asked_at)]
            for key in asked.difference(overtaken):
                self._keep(kind, key, found.get(key))
            missing += asked.difference(overtaken, found)
            keys = overtaken + keys[MAX_KEYS:]
        return missing

    async def insert(self, entity):
        """Add an entity; see ``IEntityStorage.insert``.

        :raises Unstorable: a text has a NUL character.
        """
        _check_texts(asdict(entity))
        begun_at = self._changes
        entity = await self._storage.insert(entity)
        await self._written(type(entity), entity.key, entity, begun_at)
        return entity

    async def has(self, kind, key, values):
        """Tell whether an entity has these values already, so that a change to them would be none. What the cache says is only a first
        look: another node may have changed the entity, and told whoever asks here.

        :param kind: one that the cache has.
        :param values: field name -> value.
        """
        known = self._known[kind].get(key)
        if known is None or not _agrees(known, values):
            return False
        if not values:
            return True
        if JSON_FIELD not in values:
            return await self._storage.count(kind, EntityQuery(equal={kind.KEY: key} | values)) == 1
        entity = await self._storage.get(kind, key)
        return entity is not None and _agrees(entity, values)

    async def update(self, kind, key, changes):
        """Change an entity; see ``IEntityStorage.update``.

        :raises Unstorable: a text has a NUL character.
        """
        _check_texts(changes)
        begun_at = self._changes
        entity = await self._storage.update(kind, key, changes)
        await self._written(kind, key, entity, begun_at)
        return entity

    async def delete(self, kind, key):
        """Remove an entity; see ``IEntityStorage.delete``."""
        begun_at = self._changes
        deleted = await self._storage.delete(kind, key)
        await self._written(kind, key, None, begun_at)
        return deleted

    async def changed(self, keys):
        """Take account of changes made on other nodes. Lasting kinds are read again, and stay in the cache meanwhile; devices leave it, and
        are read when they are next asked for.

        :param keys: a sequence of ``(kind, key)``; ``None`` when anything may have changed.
        """
        if keys is None:
            self._note_all_changed()
            self._devices.clear()
            for kind in LASTING:
                await self.fetch(kind, list(self._known[kind]))
            return
        for kind, key in keys:
            if kind in self._known:
                self._note_changed(kind, key)
            if kind is Device:
                self._devices.discard(key)
        for lasting in LASTING:
            await self.fetch(lasting, {key for kind, key in keys if kind is lasting and key in self._known[lasting]})

    async def _written(self, kind, key, entity, begun_at):
        """Keep what was written here, unless the storage's answer may be older than what was heard meanwhile."""
        self._publish_change(kind, key)
        if kind not in self._known:
            return
        if not self._is_changed(kind, key, begun_at):
            self._keep(kind, key, entity)
            return
        self._note_changed(kind, key)
        if kind in LASTING:
            await self.fetch(kind, [key])
        else:
            self._devices.discard(key)

    def _keep(self, kind, key, entity):
        """Have the cache say what a key stands for; ``None`` for nothing."""
        self._note_changed(kind, key)
        if kind is Device:
            if entity is None:
                self._devices.discard(key)
            else:
                self._devices.put(key, entity)
            return
        known = self._known[kind]
        # A token that is asked for the first time changes nobody's answers, and after a restart thousands are.
        self.users_epoch += kind is User or (kind is DeviceToken and key in known)
        if entity is None:
            known.pop(key, None)
        else:
            known[key] = entity

    def _note_changed(self, kind, key):
        if len(self._changed_at) >= MAX_REMEMBERED:
            self._note_all_changed()
        self._changes += 1
        self._changed_at[kind, key] = self._changes

    def _note_all_changed(self):
        self._changes += 1
        self._all_changed_at = self._changes
        self._changed_at.clear()

    def _is_changed(self, kind, key, since):
        return max(self._all_changed_at, self._changed_at.get((kind, key), 0)) > since


def _agrees(entity, values):
    return all(getattr(entity, name) == value for name, value in values.items())


def _check_texts(values):
    """Refuse what not every storage can keep, so that data can move from any to any other."""
    for name, value in values.items():
        if isinstance(value, str) and "\0" in value:
            raise Unstorable(f"{name} has a NUL character")

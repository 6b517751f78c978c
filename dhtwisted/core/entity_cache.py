"""A write-through cache over the entity storage, so that rights and devices are looked up in memory on the hot path.

Other nodes change entities too and publish that on the bus. So an answer of the storage may be older or newer than what this node has
received meanwhile. One rule keeps the cache right: an answer is used only if, since the question, this node has neither written the entity
nor received a change of it. Otherwise the storage is asked again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, cast

from msgspec.structs import asdict
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import directlyProvides

from dhtwisted.core.coroutines import run
from dhtwisted.core.entity_lookups import EntityLookups
from dhtwisted.core.request_deadlines import PATIENCE, Deadlines
from dhtwisted.errors import DeadlinePassed, Unstorable
from dhtwisted.interfaces import IBoundedAnswers, IBulkStorage, IEntityStorage
from dhtwisted.kit.bounded_cache import BoundedCache
from dhtwisted.model import Device, DeviceToken, Entity, EntityQuery, User, entity_size

MAX_DEVICES = 100_000
MAX_DEVICE_BYTES = 64 * 1024**2
"""Of the ``data`` of devices in the cache."""

LASTING = (User, DeviceToken)
"""Kinds that stay in the cache once they have been read. Rights are computed from them, without waiting."""

WITHOUT_RIGHTS = frozenset({"data", "intro_reviewed", "known_addresses", "last_login"})
"""Fields of a user from which no right is computed. Each login changes some, and must not make all connections look at their rights."""

DECISIVE = tuple(name for name in User.__struct_fields__ if name not in WITHOUT_RIGHTS)

JSON_FIELD = "data"
"""A field that no query can compare, and that may have a megabyte."""

MAX_KEYS = 500
"""Entities in one query."""

MAX_REMEMBERED = 10_000
"""Entities whose last change is remembered. With one more, all that are being read count as changed, and are read once more."""

Key = int | str


class _Reading:
    """An entity that is being read, for all callers that want it meanwhile. When the answer does not come in time, they get an error, and
    the next caller asks the storage again instead of waiting behind them.

    :param waiting: the Deferred of the first caller.
    :param due: its deadline.
    :param answer: called once with the Deferreds of all callers, and an entity and ``None``, or ``None`` and an exception.
    """

    __slots__ = ("_answer", "_due", "is_answered", "waiters")

    def __init__(self, waiting: Deferred, due: int, answer: Callable[[list[Deferred], Any, BaseException | None], None]) -> None:
        self.waiters = [waiting]
        self.is_answered = False
        self._due = due
        self._answer = answer

    def finish(self, entity: Any, error: BaseException | None) -> None:
        """Answer the callers, unless the deadline has passed."""
        if not self.is_answered:
            self.is_answered = True
            self._answer(self.waiters, entity, error)

    def answer_due(self, sweep: int) -> bool:
        """See :meth:`Deadlines.watch() <dhtwisted.core.request_deadlines.Deadlines.watch>`."""
        if not self.is_answered and sweep >= self._due:
            self.finish(None, DeadlinePassed(PATIENCE))
        return not self.is_answered


class EntityCache:
    """Users, tokens of devices, and devices as they are now. All entity reads and writes of the server pass through here.

    Entities of :data:`LASTING` kinds stay in the cache, since open connections are checked against them without waiting. Devices are
    dropped above :data:`MAX_DEVICES` and :data:`MAX_DEVICE_BYTES`, the oldest in the cache first.

    :param storage: an opened ``IEntityStorage``.
    :param publish_change: called with kind and key of what was written here, as ``IMessageBus.publish_change``.
    :param deadlines: the :class:`~dhtwisted.core.request_deadlines.Deadlines` of this server.
    :ivar user: ``user(user_id)``: the user as they are now, without waiting; ``None`` when they were deleted or never read by :meth:`get`.
    :ivar device_token: the same for a :class:`~dhtwisted.model.DeviceToken`.
    :ivar device: ``device(device_id)``: the device as it is now, without waiting; ``None`` when it is not cached.
    :ivar reading: ``(kind, key)`` -> who waits for an entity that is being read now.
    :ivar users_epoch: grows with every change of a user or a device's token from which rights are computed, for callers that keep something
        computed from them.
    """

    def __init__(self, storage: IEntityStorage, publish_change: Callable[[type[Entity], Any], None], deadlines: Deadlines) -> None:
        self._storage = storage
        self._deadlines = deadlines
        self._publish_change = publish_change
        self._lookups = EntityLookups(storage)
        self._devices: BoundedCache[str | None, Device] = BoundedCache(MAX_DEVICES, MAX_DEVICE_BYTES, lambda _, device: entity_size(device))
        users: dict[int, User] = {}
        device_tokens: dict[int, DeviceToken] = {}
        self._cached: dict[type, dict[Any, Any]] = {User: users, DeviceToken: device_tokens, Device: self._devices}
        self.reading: dict[tuple[type[Entity], Key], _Reading] = {}
        self._changes = 0
        self._changed_at: dict[tuple[type[Entity], Key], int] = {}
        self._all_changed_at = 0
        self.user = users.get
        self.device_token = device_tokens.get
        self.device = self._devices.get
        self.users_epoch = 0
        self.find = storage.find
        directlyProvides(self, *(interface for interface in (IBoundedAnswers, IBulkStorage) if interface.providedBy(storage)))
        if IBulkStorage.providedBy(storage):
            self.change_many, self.remove_group = storage.change_many, storage.remove_group
        self.count = storage.count

    def sizes(self) -> dict[str, int]:
        """How many entities are cached, by the name of their kind."""
        return {kind.__name__.lower(): len(cached) for kind, cached in self._cached.items()}

    async def get(self, kind: type[Entity], key: Any) -> Any:
        """Find one entity; ``None`` when there is none."""
        cached = self._cached.get(kind)
        if cached is None:
            return await self._storage.get(kind, key)
        entity = None if (kind, key) in self.reading else cached.get(key)
        return await self._read_shared(kind, key) if entity is None else entity

    async def _read_shared(self, kind: type[Entity], key: Key) -> Any:
        """Read an entity once for all callers that want it meanwhile. They continue in the order in which they came: requests of one client
        for one device must not overtake each other because the device was not cached.
        """
        waiting: Deferred = Deferred()
        reading = self.reading.get((kind, key))
        if reading is not None:
            reading.waiters.append(waiting)
            return await waiting
        reading = self.reading[kind, key] = _Reading(waiting, self._deadlines.due(), partial(self._answer, (kind, key)))
        run(self._read(kind, key), reading.finish)
        if not reading.is_answered:
            self._deadlines.watch(reading)
        return await waiting

    def _answer(self, place: tuple[type[Entity], Key], waiters: list[Deferred], entity: Any, error: BaseException | None) -> None:
        # A caller that comes during this loop is appended to the list, and answered last.
        for waiting in waiters:
            if error is None:
                waiting.callback(entity)
            else:
                waiting.errback(Failure(error))
        del self.reading[place]

    async def _read(self, kind: type[Entity], key: Key) -> Any:
        entity = None
        while entity is None:
            asked_at = self._changes
            entity = await self._lookups.get(kind, key)
            if not self._is_changed(kind, key, asked_at):
                if entity is not None:
                    self._put(kind, key, entity)
                return entity
            entity = self._cached[kind].get(key)
        return entity

    async def refresh(self, kind: type[Entity], keys: Iterable[Any]) -> list[Any]:
        """Read entities into the cache again. The old ones stay in the cache until the storage has answered.

        :param kind: one that is cached.
        :returns: the keys of those that do not exist.
        """
        keys = list(keys)
        missing: list[Any] = []
        while keys:
            asked, asked_at = frozenset(keys[:MAX_KEYS]), self._changes
            entities = await self._storage.find(kind, EntityQuery(within={kind.KEY: asked}))
            found = {entity.key: entity for entity in entities}
            overtaken = [key for key in asked if self._is_changed(kind, key, asked_at)]
            for key in asked.difference(overtaken):
                self._put(kind, key, found.get(key))
            missing += asked.difference(overtaken, found)
            keys = overtaken + keys[MAX_KEYS:]
        return missing

    async def insert(self, entity: Any) -> Any:
        """Add an entity; see ``IEntityStorage.insert``.

        :raises Unstorable: a text has a NUL character.
        """
        _check_texts(asdict(entity))
        begun_at = self._changes
        entity = await self._storage.insert(entity)
        await self._written(type(entity), entity.key, entity, begun_at)
        return entity

    async def has(self, kind: type[Entity], key: Key, values: dict[str, Any]) -> bool:
        """Whether an entity has these values already, so that an update would change nothing. If the cache agrees, the storage is asked
        too: another node may have changed the entity, and its client may know that.

        :param kind: one that is cached.
        :param values: field name -> value.
        """
        cached = self._cached[kind].get(key)
        if cached is None or not _agrees(cached, values):
            return False
        if not values:
            return True
        if JSON_FIELD not in values:
            return await self._storage.count(kind, EntityQuery(equal={kind.KEY: key} | values)) == 1
        entity = await self._storage.get(kind, key)
        return entity is not None and _agrees(entity, values)

    async def update(self, kind: type[Entity], key: Key, changes: dict[str, Any]) -> Any:
        """Change an entity; see ``IEntityStorage.update``.

        :raises Unstorable: a text has a NUL character.
        """
        _check_texts(changes)
        begun_at = self._changes
        entity = await self._storage.update(kind, key, changes)
        await self._written(kind, key, entity, begun_at)
        return entity

    async def delete(self, kind: type[Entity], key: Key) -> bool:
        """Remove an entity; see ``IEntityStorage.delete``."""
        begun_at = self._changes
        deleted = await self._storage.delete(kind, key)
        await self._written(kind, key, None, begun_at)
        return deleted

    async def changed_elsewhere(self, keys: Sequence[tuple[type[Entity], Any]] | None) -> None:
        """Apply changes of other nodes. Lasting kinds are read again, and stay in the cache meanwhile. Devices are dropped, and read when
        they are next wanted.

        :param keys: kind and key of each; ``None`` when anything may have changed.
        """
        if keys is None:
            self._note_all_changed()
            self._devices.clear()
            for lasting in LASTING:
                await self.refresh(lasting, list(self._cached[lasting]))
            return
        for kind, key in keys:
            if kind in self._cached:
                self._note_changed(kind, key)
            if kind is Device:
                self._devices.discard(key)
        for lasting in LASTING:
            await self.refresh(lasting, {key for changed, key in keys if changed is lasting and key in self._cached[lasting]})

    async def _written(self, kind: type[Entity], key: Key, entity: Any, begun_at: int) -> None:
        """Cache what was written here, unless the storage's answer may be older than a change that was received meanwhile."""
        self._publish_change(kind, key)
        if kind not in self._cached:
            return
        if not self._is_changed(kind, key, begun_at):
            self._put(kind, key, entity)
            return
        self._note_changed(kind, key)
        if kind in LASTING:
            await self.refresh(kind, [key])
        else:
            self._devices.discard(cast(str, key))

    def _put(self, kind: type[Entity], key: Key, entity: Any) -> None:
        """Cache the entity of a key; ``None`` when there is none."""
        self._note_changed(kind, key)
        if kind is Device:
            if entity is None:
                self._devices.discard(cast(str, key))
            else:
                self._devices.put(cast(str, key), entity)
            return
        cached = self._cached[kind]
        self.users_epoch += _changes_rights(kind, cached.get(key), entity)
        if entity is None:
            cached.pop(key, None)
        else:
            cached[key] = entity

    def _note_changed(self, kind: type[Entity], key: Key) -> None:
        if len(self._changed_at) >= MAX_REMEMBERED:
            self._note_all_changed()
        self._changes += 1
        self._changed_at[kind, key] = self._changes

    def _note_all_changed(self) -> None:
        self._changes += 1
        self._all_changed_at = self._changes
        self._changed_at.clear()

    def _is_changed(self, kind: type[Entity], key: Key, since: int) -> bool:
        return max(self._all_changed_at, self._changed_at.get((kind, key), 0)) > since


def _changes_rights(kind: type[Entity], before: Any, entity: Any) -> bool:
    """Whether rights that were computed before may be other ones now.

    :param before: what was cached; ``None`` for nothing.
    """
    if kind is DeviceToken:
        # One that is read for the first time changes no computed answer; after a restart there are thousands.
        return before is not None
    return before is None or entity is None or any(getattr(before, name) != getattr(entity, name) for name in DECISIVE)


def _agrees(entity: Entity, values: Mapping[str, Any]) -> bool:
    return all(getattr(entity, name) == value for name, value in values.items())


def _check_texts(values: Mapping[str, Any]) -> None:
    """Refuse texts that not every storage can keep, so that data can move between all of them."""
    for name, value in values.items():
        if isinstance(value, str) and "\0" in value:
            raise Unstorable(f"{name} has a NUL character")

"""A write-through cache over the entity storage, so that rights and devices are looked up in memory on the hot path."""

from __future__ import annotations

from dhtwisted.model import Device, User

MAX_DEVICES = 100_000


class Entities:
    """Users and devices as they are now. All of the server's entity reads and writes pass here.

    Users once asked for stay in the cache, since open connections are checked against them without waiting; devices make room for others
    above :data:`MAX_DEVICES`, the longest known first.

    :ivar users_epoch: grows with every change of a user, for whoever keeps something computed from users.
    """

    def __init__(self, storage):
        self._storage = storage
        self._known = {User: {}, Device: {}}
        self._writes = 0
        self.users_epoch = 0
        self.find = storage.find
        self.count = storage.count

    async def get(self, kind, key):
        """Find one entity; ``None`` when there is none."""
        known = self._known.get(kind)
        if known is None:
            return await self._storage.get(kind, key)
        entity = known.get(key)
        while entity is None:
            writes = self._writes
            entity = await self._storage.get(kind, key)
            if entity is None:
                return None
            if writes == self._writes:
                self._keep(entity)
            else:
                # Something was written while the storage answered: its answer may be older than what is in the cache.
                entity = known.get(key)
        return entity

    def user(self, user_id):
        """The user as he is now, without waiting; ``None`` when he was deleted or nobody asked for him by :meth:`get`."""
        return self._known[User].get(user_id)

    def device(self, device_id):
        """The device as it is now, without waiting; ``None`` when it is not at hand."""
        return self._known[Device].get(device_id)

    async def insert(self, entity):
        """Add an entity; see ``IEntityStorage.insert``."""
        entity = await self._storage.insert(entity)
        self._changed(entity)
        return entity

    async def update(self, kind, key, changes):
        """Change an entity; see ``IEntityStorage.update``."""
        entity = await self._storage.update(kind, key, changes)
        self._changed(entity)
        return entity

    async def delete(self, kind, key):
        """Remove an entity; see ``IEntityStorage.delete``."""
        deleted = await self._storage.delete(kind, key)
        self._writes += 1
        self._known.get(kind, {}).pop(key, None)
        if kind is User:
            self.users_epoch += 1
        return deleted

    def _changed(self, entity):
        self._writes += 1
        if type(entity) in self._known:
            self._keep(entity)
        if type(entity) is User:
            self.users_epoch += 1

    def _keep(self, entity):
        known = self._known[type(entity)]
        known[entity.key] = entity
        if type(entity) is Device and len(known) > MAX_DEVICES:
            del known[next(iter(known))]

"""Records of tokens for one device that have ended, and are deleted when others are made."""

from __future__ import annotations

from dhtwisted.model import DeviceToken, EntityQuery

MANY = 100
"""Records that are not looked through again for each one more: 10,000 of them hold up everybody for 50 ms."""

PAUSE = 60_000
"""Milliseconds after which they are, though none of them ends before: other nodes make some too."""


class ExpiredTokens:
    """Deletes them.

    :param entities: the server's.
    :param now: gives milliseconds.
    """

    def __init__(self, entities, now):
        self._entities = entities
        self._now = now
        self._quiet_until: dict[tuple, int] = {}

    async def forget(self, field, value):
        """Delete those of one device or user.

        :param field: by which they are found.
        :returns: whether there were any.
        """
        place, now = (field, value), self._now()
        if now < self._quiet_until.get(place, 0):
            return False
        records = await self._entities.find(DeviceToken, EntityQuery(equal={field: value}))
        good = [record.expires for record in records if record.expires > now]
        if len(good) >= MANY:
            self._quiet_until[place] = min(*good, now + PAUSE)
        else:
            self._quiet_until.pop(place, None)
        found = False
        for record in records:
            if record.expires <= now:
                found = await self._entities.delete(DeviceToken, record.id) or found
        return found

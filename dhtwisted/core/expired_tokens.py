"""Deletes the records of expired device tokens when new ones are made."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from dhtwisted.model import DeviceToken, EntityQuery

if TYPE_CHECKING:
    from dhtwisted.core.entity_cache import EntityCache

MANY = 100
"""So many records are not read again for each new one: to read 10,000 of them takes 50 ms, in which nothing else is done."""

PAUSE = 60_000
"""Milliseconds after which they are read again even if none expires earlier: other nodes make tokens too."""


class ExpiredTokens:
    """Deletes the expired records of one server.

    :param entities: the server's.
    :param now: gives milliseconds.
    """

    def __init__(self, entities: EntityCache, now: Callable[[], int]) -> None:
        self._entities = entities
        self._now = now
        self._quiet_until: dict[tuple, int] = {}

    async def forget(self, field: str, value: int | str) -> bool:
        """Delete the expired records of one device or user.

        :param field: of the record, such as ``user_id``.
        :returns: whether any were deleted.
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

"""Looks entities up by their keys. What is wanted while a query is running goes into the next query together.

A connection may name a new device in each request, and thousands of connections come back after a restart. A query for each would fill the
queue of a database, for everybody.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from dhtwisted.core.coroutines import run
from dhtwisted.interfaces import IEntityStorage
from dhtwisted.kit.current_client import run_for_client
from dhtwisted.model import Entity, EntityQuery, entity_size

MAX_KEYS = 500
"""Entities in one query."""

MAX_BYTES = 16 * 1024**2
"""Bytes of JSON in one answer. The entities that do not fit are asked for again."""

MAX_QUERIES = 2
"""Queries for one kind that run at once. A single one would hold up all others when its connection is lost."""

Key = int | str
Found = tuple[dict[Any, Entity | None], Callable[[Key], bool]]


class EntityLookups:
    """Finds entities for all clients. The queries run for the server itself: a client that has used up its share of the storage must not
    hold up the others.
    """

    def __init__(self, storage: IEntityStorage) -> None:
        self._storage = storage
        self._running: dict[type[Entity], int] = {}
        self._wanted: dict[type[Entity], deque[tuple[Key, Deferred]]] = {}

    async def get(self, kind: type[Entity], key: Key) -> Any:
        """Find one entity; see ``IEntityStorage.get``."""
        waiting: Deferred = Deferred()
        self._wanted.setdefault(kind, deque()).append((key, waiting))
        if self._running.setdefault(kind, 0) < MAX_QUERIES:
            self._query(kind)
        return await waiting

    def _query(self, kind: type[Entity]) -> None:
        wanted = self._wanted[kind]
        portion = [wanted.popleft() for _ in range(min(len(wanted), MAX_KEYS))]
        self._running[kind] += 1
        finding = self._find(kind, [key for key, _ in portion])
        run_for_client(None, run, finding, lambda found, error: self._answer(kind, portion, found, error))

    async def _find(self, kind: type[Entity], keys: list[Key]) -> Found:
        """Find entities.

        :returns: the entities by their keys, and a function that says of a key whether it is answered by them.
        """
        if len(keys) == 1:
            entity = await self._storage.get(kind, keys[0])
            return {keys[0]: entity}, lambda key: True
        found = await self._storage.find(kind, EntityQuery(within={kind.KEY: frozenset(keys)}, size=MAX_BYTES))
        is_cut = sum(map(entity_size, found)) >= MAX_BYTES
        return {entity.key: entity for entity in found}, lambda key: not is_cut or key <= found[-1].key

    def _answer(self, kind: type[Entity], portion: list[tuple[Key, Deferred]], found: Found, error: BaseException | None) -> None:
        self._running[kind] -= 1
        wanted = self._wanted[kind]
        entities: dict[Any, Entity | None] = {}
        if error is None:
            entities, is_answered = found
            wanted.extendleft(reversed([entry for entry in portion if not is_answered(entry[0])]))
            portion = [entry for entry in portion if is_answered(entry[0])]
        while wanted and self._running[kind] < MAX_QUERIES:
            self._query(kind)
        for key, waiting in portion:
            if error is None:
                waiting.callback(entities.get(key))
            else:
                waiting.errback(Failure(error))

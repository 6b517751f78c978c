"""Looks entities up by their keys: what is wanted while a question is under way goes into the next one, all of it together.

A connection may name a new device in each request, and thousands of them come back after a restart. A question for each would fill the
queue of a database, for everybody.
"""

from __future__ import annotations

from collections import deque

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from dhtwisted.core.coroutines import run
from dhtwisted.kit.current_client import run_for_client
from dhtwisted.model import EntityQuery, entity_size

MOST_KEYS = 500
"""Entities that are asked for in one question."""

MOST_BYTES = 16 * 1024**2
"""Of what clients may make large, in one answer. What is beyond is asked for again."""

AT_ONCE = 2
"""Questions for one kind. One alone would hold up all others when its connection is lost."""


class Lookups:
    """See above. The server itself asks, on behalf of many: who has used up their share at the storage is not to hold up the others.

    :param storage: an opened ``IEntityStorage``.
    """

    def __init__(self, storage):
        self._storage = storage
        self._asking: dict[type, int] = {}
        self._wanted: dict[type, deque] = {}

    async def get(self, kind, key):
        """Find one entity; see ``IEntityStorage.get``."""
        waiting = Deferred()
        self._wanted.setdefault(kind, deque()).append((key, waiting))
        if self._asking.setdefault(kind, 0) < AT_ONCE:
            self._ask(kind)
        return await waiting

    def _ask(self, kind):
        wanted = self._wanted[kind]
        portion = [wanted.popleft() for _ in range(min(len(wanted), MOST_KEYS))]
        self._asking[kind] += 1
        finding = self._find(kind, [key for key, _ in portion])
        run_for_client(None, run, finding, lambda outcome, error: self._tell(kind, portion, outcome, error))

    async def _find(self, kind, keys):
        """Find entities.

        :returns: a dict of them by their keys, and which keys are answered by that, as a function.
        """
        if len(keys) == 1:
            entity = await self._storage.get(kind, keys[0])
            return {keys[0]: entity}, lambda key: True
        found = await self._storage.find(kind, EntityQuery(within={kind.KEY: frozenset(keys)}, size=MOST_BYTES))
        is_cut = sum(map(entity_size, found)) >= MOST_BYTES
        return {entity.key: entity for entity in found}, lambda key: not is_cut or key <= found[-1].key

    def _tell(self, kind, portion, outcome, error):
        self._asking[kind] -= 1
        wanted = self._wanted[kind]
        if error is None:
            found, is_answered = outcome
            wanted.extendleft(reversed([entry for entry in portion if not is_answered(entry[0])]))
            portion = [entry for entry in portion if is_answered(entry[0])]
        while wanted and self._asking[kind] < AT_ONCE:
            self._ask(kind)
        for key, waiting in portion:
            if error is None:
                waiting.callback(found.get(key))
            else:
                waiting.errback(Failure(error))

"""Sessions with several nodes: each is on one node at a time, or on none, and then in the storage only.

A client comes to any node. That node asks the others for the session. The one that has it ends the connection (0x8E), finishes what it
had begun, stores the session, and forgets it. Then the asking node reads it. When two nodes ask for one session at once, the node with the
lower id goes first, and the other asks again.

The first of the nodes looks after sessions that no node has, because theirs is gone: it publishes their wills and removes those whose time
is over.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

from msgspec import json
from twisted.internet.defer import DeferredLock
from twisted.logger import Logger
from twisted.python.failure import Failure

from dhtwisted.core.coroutines import run
from dhtwisted.core.stored_pages import EntityPages
from dhtwisted.errors import StorageError
from dhtwisted.fronts.mqtt import wills
from dhtwisted.fronts.mqtt.changes import Changes
from dhtwisted.fronts.mqtt.restoring import is_of_nobody, load, wait_for_client
from dhtwisted.kit.repeated_work import RepeatedWork
from dhtwisted.model import EntityQuery, MqttSession

if TYPE_CHECKING:
    from dhtwisted.core.nodes import Nodes
    from dhtwisted.fronts.mqtt.broker import MqttBroker
    from dhtwisted.fronts.mqtt.session import ClientSession, Key

TAKE, HAVE = "mqtt take", "mqtt have"
"""Questions: to give up a session; and which of some sessions the other has."""

LOOK = 600
"""Seconds between two looks for sessions that no node has."""

PORTION, PORTION_SIZE = 100, 6000
"""Sessions in one question, and bytes of their keys in JSON; a longer key is alone."""


class SharedSessions:
    """The sessions of this node, as the others see them.

    :param storage: an opened ``IEntityStorage``, that of the broker's store.
    :param nodes: not started.
    """

    log = Logger()

    def __init__(self, broker: MqttBroker, storage: Any, nodes: Nodes) -> None:
        self._broker = broker
        self._storage = storage
        self._nodes = nodes
        self._locks: dict[Key, DeferredLock] = {}
        self._claims: dict[Key, bool] = {}
        self._is_looking = self._looks_again = self._is_stopped = self._is_dropping = False
        self._looking = RepeatedWork(broker.clock, "looking after sessions of nodes that are gone", self.look_for_orphans)
        nodes.answering[TAKE] = self._give_up
        nodes.answering[HAVE] = self._which
        nodes.on_death = lambda node: self.look_for_orphans()
        nodes.on_return = self._look_for_lost

    def start(self) -> None:
        """Let clients come."""
        self._nodes.start()
        self._looking.start(LOOK)
        self._broker.clock.callLater(2 * self._nodes.settling, self.look_for_orphans)

    async def stop(self) -> None:
        """Leave all sessions to the others. The connections have ended."""
        self._looking.stop()
        self._is_stopped = True
        kept = next((session for session in self._broker.sessions.values() if session.is_stored), None)
        try:
            if kept is not None:
                # What was to be stored before is stored then.
                await self._broker.save(kept)
        except StorageError as error:
            self._broker.store_failed(error)
        await self._nodes.stop()

    # A client comes

    @asynccontextmanager
    async def claimed(self, key: Key) -> AsyncIterator[None]:
        """Have a session on this node, if there is one, and nobody else may take it meanwhile.

        :raises StorageError: it cannot be read, or the others cannot be asked.
        """
        async with self._locked(key):
            if key not in self._broker.sessions:
                await self._ask_for(key)
                await load(self._broker, self._storage, key)
            yield

    @asynccontextmanager
    async def _locked(self, key: Key) -> AsyncIterator[None]:
        lock = self._locks.setdefault(key, DeferredLock())
        await lock.acquire()
        try:
            yield
        finally:
            lock.release()
            if not lock.locked:
                del self._locks[key]

    async def _ask_for(self, key: Key) -> None:
        is_outrun = True
        while is_outrun:
            self._claims[key] = False
            try:
                await self._nodes.ask(TAKE, key)
            finally:
                is_outrun = self._claims.pop(key)

    async def _give_up(self, asking: str, question: tuple[int, str]) -> None:
        """Another node asks for a session."""
        user_id, client_id = question
        key = (user_id, client_id)
        if key in self._claims and asking < self._nodes.id:
            self._claims[key] = True
            return
        async with self._locked(key):
            session = self._broker.sessions.get(key)
            if session is not None:
                await self._hand_over(session)

    async def _hand_over(self, session: ClientSession) -> None:
        broker = self._broker
        await broker.release_session(session.key)
        if not session.is_over:
            await self._leave(session)
        elif session.is_stored:
            # It is being removed, and the other node must not find it any more.
            changes = Changes()
            broker.store.note_session_ended(changes, session)
            await broker.commit(changes)

    async def _leave(self, session: ClientSession) -> None:
        """Store a session and forget it. Its will goes with it: the client is back, or its delay goes on. While it is being stored neither
        its time nor the delay of its will ends here, because both do so where it is read.
        """
        broker, will, saved = self._broker, session.will, self._broker.save(session)
        wills.forget(broker, session)
        if session.timer is not None:
            session.timer.cancel()
        try:
            await saved
        except BaseException:
            wills.set_will(broker, session, will)
            wait_for_client(broker, session)
            raise
        if not session.is_over:
            broker.forget_session(session)

    async def _which(self, asking: str, keys: Sequence[tuple[int, str]]) -> list[int]:
        """Another node asks which of some sessions are here: their places in the list."""
        return [at for at, (user_id, client_id) in enumerate(keys) if self._has((user_id, client_id))]

    def _has(self, key: Key) -> bool:
        return key in self._broker.sessions or key in self._locks

    # Sessions that no node has

    def look_for_orphans(self) -> None:
        """Look after the sessions of nodes that are gone, if this node is to do that."""
        if not self._nodes.is_first:
            return
        if self._is_looking:
            self._looks_again = True
            return
        self._is_looking, self._looks_again = True, False
        run(self._adopt_all(), self._looked)

    def _looked(self, _: Any, error: BaseException | None) -> None:
        self._is_looking = False
        if isinstance(error, StorageError):
            self.log.warn("sessions of MQTT clients whose node is gone wait for the storage: {error}", error=str(error))
        elif error is not None:
            self.log.failure("sessions of MQTT clients whose node is gone could not be looked after", failure=Failure(error))
        if error is not None or self._looks_again:
            self._broker.clock.callLater(self._nodes.settling, self.look_for_orphans)

    async def _adopt_all(self) -> None:
        async for page in EntityPages(self._storage, MqttSession).walk(EntityQuery()):
            keys = [_key_of(record) for record in page if await self._needs_somebody(record)]  # type: ignore[arg-type]
            for portion in _portions(keys):
                await self._adopt(portion)

    async def _needs_somebody(self, record: MqttSession) -> bool:
        if self._has(_key_of(record)):
            return False
        if record.ended is None or record.will is not None or await is_of_nobody(self._broker, record):
            return True
        return record.expires is not None and record.expires <= self._broker.now() * 1000

    async def _adopt(self, keys: list[Key]) -> None:
        async with AsyncExitStack() as stack:
            for key in keys:
                await stack.enter_async_context(self._locked(key))
            elsewhere = await self._nodes.ask(HAVE, keys)
            taken = {keys[at] for places in elsewhere for at in places}
            for key in keys:
                if key not in taken and key not in self._broker.sessions:
                    await self._adopt_one(key)

    async def _adopt_one(self, key: Key) -> None:
        broker = self._broker
        session = await load(broker, self._storage, key)
        if session is not None and session.will is None:
            # What is left is its end, for which nothing need be in memory.
            await broker.save(session)
            broker.forget_session(session)

    # After an interruption of the bus

    def _look_for_lost(self) -> None:
        """Find out what others have taken; if they cannot be asked, again and again, or two nodes would have one session."""
        if not (self._is_dropping or self._is_stopped):
            self._is_dropping = True
            run(self._drop_lost(), self._looked_for_lost)

    def _looked_for_lost(self, _: None, error: BaseException | None) -> None:
        self._is_dropping = False
        if error is not None:
            if not isinstance(error, StorageError):
                self.log.failure("sessions that other nodes have taken could not be looked for", failure=Failure(error))
            self._broker.clock.callLater(self._nodes.settling, self._look_for_lost)

    async def _drop_lost(self) -> None:
        """Forget the sessions that another node has taken meanwhile, since it took this one for dead."""
        for portion in _portions(list(self._broker.sessions)):
            elsewhere = await self._nodes.ask(HAVE, portion)
            for key in {portion[at] for places in elsewhere for at in places}:
                session = self._broker.sessions.get(key)
                if session is not None and key not in self._locks:
                    self._drop(session)

    def _drop(self, session: ClientSession) -> None:
        # What is stored is the other node's.
        session.is_kept = session.is_stored = False
        wills.forget(self._broker, session)
        connection = session.connection
        if connection is not None:
            connection.taken_over()
        if not session.is_over:
            self._broker.forget_session(session)


def _key_of(record: MqttSession) -> Key:
    return record.user_id, record.client_id


def _portions(keys: list[Key]) -> list[list[Key]]:
    """Keys in as many portions as one question takes."""
    portions: list[list[Key]] = []
    size = PORTION_SIZE
    for key in keys:
        length = len(json.encode(key)) + 1
        size += length
        if size > PORTION_SIZE or len(portions[-1]) == PORTION:
            portions.append([])
            size = length
        portions[-1].append(key)
    return portions

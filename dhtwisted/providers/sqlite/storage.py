"""The durable storage of a single server: all data are in one SQLite file.

SQLite is in write-ahead mode. A separate process writes, and syncs each commit to the disk before its callers get their results. Two
threads read. There are few entities, and they are kept in memory. So only messages are read from the file while the server runs.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, fail, inlineCallbacks
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from dhtwisted.errors import ConfigurationError, RowDamaged, StorageDamaged, StorageUnavailable
from dhtwisted.interfaces import IBackedUpStorage, IBoundedAnswers, IBulkStorage, ILossNoticing, IMeasuredStorage, ISelfCheck, IStorage
from dhtwisted.kit.batching import Batcher
from dhtwisted.kit.deadline import Deadline
from dhtwisted.kit.entity_tables import EntityTable, Key, holdings
from dhtwisted.kit.reactor import IReactor
from dhtwisted.kit.slices import Slices
from dhtwisted.kit.statistics import StorageStatistics
from dhtwisted.kit.worker import Worker
from dhtwisted.model import Entity, EntityQuery, Holding, Message, MessageQuery, entity_size
from dhtwisted.providers.sqlite.bulk_operations import ChangeMany, RemoveGroup
from dhtwisted.providers.sqlite.copying import Copy, remove_copy
from dhtwisted.providers.sqlite.damage_search import DamageSearch
from dhtwisted.providers.sqlite.data_files import KEPT_OPEN, DataFiles
from dhtwisted.providers.sqlite.database import FileLock, close_connection, connect_reader
from dhtwisted.providers.sqlite.many_entities import ManyEntities
from dhtwisted.providers.sqlite.messages import MESSAGE_TABLES, is_integer_of_sqlite
from dhtwisted.providers.sqlite.operations import Append, ChangeEntity, ForgetMessages, Operation, Restore, UpdateCommand
from dhtwisted.providers.sqlite.proof import LARGE as LARGE_FILE
from dhtwisted.providers.sqlite.proof import prove, size_of
from dhtwisted.providers.sqlite.reader import Readers, Table
from dhtwisted.providers.sqlite.rebuild import rebuild
from dhtwisted.providers.sqlite.writer import Writer, open_file

T = TypeVar("T")


SWITCH_INTERVAL = 0.0001
"""Seconds after which a busy thread must let another one run. A query releases the interpreter lock for a moment at each row. With Python's
5 ms a busy reactor thread could take the lock each time, and a list would wait as often as it has messages."""

MOST_WORK = 512
"""Messages in a batch. The fixed cost of a batch, half a millisecond, is then small compared with the cost of its rows."""

LARGE = 4096
"""Bytes of payload that count as one more message, because a batch is in memory several times."""


_AFTER_DAMAGE = (
    "stop the server, keep a copy of the file and its -wal, and restore a backup, or start once with --accept-loss to go on without that"
)


@implementer(IStorage, IBulkStorage, IBoundedAnswers, IMeasuredStorage, ISelfCheck, IBackedUpStorage, ILossNoticing)
class FileStorage:
    """Keeps entities and messages in an SQLite file, beside which ``-wal``, ``-shm``, ``.lock`` and ``.mark`` files appear.

    :param path: of the file; its directory must exist.
    :param reactor: gives the time, and receives answers from the threads and the process.
    """

    durability = "durable"

    _log = Logger()

    def __init__(self, path: str, reactor: IReactor) -> None:
        self._path = os.path.realpath(path)
        self._reactor = reactor
        self._slices = Slices(reactor)
        self._many = ManyEntities(self._read, self._write)
        self._open = False
        self._damages: dict[str, StorageDamaged] = {}
        self._hang = ""
        self._copy: Copy | None = None
        self._search: DamageSearch | None = None
        self._writer: Writer | None = None
        self._lock: FileLock | None = None
        self._accepts_loss = False
        self.losses: list[str] = []
        self.statistics = StorageStatistics(reactor.seconds)
        self.state_directory = os.path.dirname(self._path)

    @inlineCallbacks
    def open(self) -> Generator[Any, Any, None]:
        """Lock the file, create it or upgrade its schema, read the entities, and start the process that writes."""
        sys.setswitchinterval(min(SWITCH_INTERVAL, sys.getswitchinterval()))
        self._lock = self._writer = None
        self._damages.clear()
        self._hang = ""
        self._readers = Readers(self._reactor)
        first = self._readers.first
        try:
            self._lock = yield first.call(FileLock, self._path)
            yield first.call(remove_copy, self._path)
            proof = yield first.call(prove, self._path, self._accepts_loss)
            self.losses = proof.losses
            if proof.is_damaged:
                self.losses += yield first.call(rebuild, self._path, proof.floor)
            first.connection, self._tables, counters = yield first.call(open_file, self._path, proof.floor)
            yield Deferred.fromCoroutine(self._readers.connect(connect_reader, self._path))
            self._files = DataFiles(self._path, KEPT_OPEN)
            self._writer = Writer(self._reactor, self._path, self._lock.descriptor, self._tables, counters, self._files)
            yield Deferred.fromCoroutine(self._start(self._writer))
        except BaseException:
            yield self._release()
            raise
        self._deadline = Deadline(self._reactor, self._hangs)
        self._batcher = Batcher(self._commit, max_rows=MOST_WORK, deadline=self._deadline, reactor=self._reactor)
        self._open = True
        if proof.crashed and size_of(self._path) >= LARGE_FILE:
            self._search_damage()

    def accept_loss(self) -> None:
        """See :meth:`dhtwisted.interfaces.ILossNoticing.accept_loss`."""
        self._accepts_loss = True

    def _search_damage(self) -> None:
        """Search a large file for damage while the server works."""
        self._search = search = DamageSearch(self._reactor, self._path)
        self._watch_damage(search.start(), "search").addErrback(lambda failure: failure.trap(StorageUnavailable) and None)

    async def _start(self, writer: Writer) -> None:
        try:
            await writer.start()
        except StorageUnavailable as error:
            raise ConfigurationError(f"cannot use storage file {self._path}: {error}") from error

    @inlineCallbacks
    def close(self) -> Generator[Any, Any, None]:
        """Finish what was accepted, merge the log into the file, and end the threads and the process."""
        if self._open:
            self._open = False
            if self._copy is not None:
                self._copy.stop()
            if self._search is not None:
                yield self._search.stop()
            # Accepted writes must be finished. Waiting queries would only delay that, so they fail.
            self._readers.drop(StorageUnavailable("the storage is closed"))
            hangs = True
            try:
                yield self._batcher.drain()
                hangs = bool(self._hang)
            finally:
                self._deadline.cancel()
                # The caller may cancel. The threads and the process must end all the same, or the server would run for ever.
                yield self._release(hangs)

    @inlineCallbacks
    def _release(self, hangs: bool = False) -> Generator[Any, Any, None]:
        yield Deferred.fromCoroutine(self._readers.stop(close_connection))
        if self._writer is not None:
            # The last one to close the file merges the write-ahead log into it and deletes the log.
            yield Deferred.fromCoroutine(self._writer.stop(hangs))
        if self._lock is not None:
            self._lock.release()

    def problem(self) -> str:
        """See :meth:`dhtwisted.interfaces.ISelfCheck.problem`."""
        if not self._open:
            return ""
        damage = next((self._describe_damage(damage) for damage in self._damages.values()), "")
        return self._files.problem() or self._hang or damage or (self._search.problem() if self._search is not None else "")

    def _describe_damage(self, damage: StorageDamaged) -> str:
        cure = "stop the server, keep a copy of the file and its -wal, and restore a backup" if damage.lasts else "look at the disk"
        return f"{self._path}: {damage}; {cure}"

    async def get(self, kind: type[Entity], key: Key) -> Any:
        """Find one entity, or ``None``."""
        return await self._many.get(kind, key) if kind.MANY else self._table(kind).entities.get(key)

    async def find(self, kind: type[Entity], query: EntityQuery) -> list[Any]:
        """List entities."""
        if kind.MANY:
            return await self._many.find(kind, query)
        return await self._slices.run(self._table(kind).find_in_slices, query)

    async def count(self, kind: type[Entity], query: EntityQuery) -> int:
        """Count entities."""
        if kind.MANY:
            return await self._many.count(kind, query)
        return await self._slices.run(self._table(kind).count_in_slices, query)

    async def holdings(self, owner: int) -> dict[type[Entity], Holding]:
        """Count what a user owns."""
        self._check_open()
        return holdings(self._tables, owner)

    def insert(self, entity: Entity) -> Awaitable[Any]:
        """Add an entity, and return it with its key."""
        return self._many.insert(entity) if entity.MANY else self._write(ChangeEntity("insert", entity))

    def update(self, kind: type[Entity], key: Key, changes: dict[str, Any]) -> Awaitable[Any]:
        """Change some fields of an entity, and return it."""
        return self._many.update(kind, key, changes) if kind.MANY else self._write(ChangeEntity("update", kind, key, changes))

    def delete(self, kind: type[Entity], key: Key) -> Awaitable[Any]:
        """Remove an entity, and return whether there was one."""
        return self._many.delete(kind, key) if kind.MANY else self._write(ChangeEntity("delete", kind, key))

    def change_many(
        self, put: Sequence[Entity], removed: Sequence[tuple[type[Entity], str]], messages: Sequence[Message] = ()
    ) -> Deferred[None]:
        """Store entities, remove others, and append messages, in one commit with everything else that waits."""
        work = len(put) + len(removed) + sum(map(entity_size, put)) // LARGE + _work(messages)
        return self._write(ChangeMany(put, removed, messages), work)

    def remove_group(self, kind: type[Entity], group: str) -> Deferred[None]:
        """Remove the entities of a group."""
        return self._write(RemoveGroup(kind, group))

    def append(self, messages: Sequence[Message]) -> Deferred[None]:
        """Store messages, in one commit with everything else that waits."""
        return self._write(Append(messages), _work(messages))

    def update_command(self, device_id: str, command_id: int, changes: dict[str, Any]) -> Deferred[Any]:
        """Update a command."""
        return self._write(UpdateCommand(device_id, command_id, changes, self._note_damage))

    def forget_messages(self, kind: type[Message], query: MessageQuery) -> Deferred[Any]:
        """Delete messages, those first that arrived first, and return how many."""
        return self._write(ForgetMessages(kind, query))

    def restore(self, messages: Sequence[Message]) -> Deferred[Any]:
        """Store messages with the stamps that they have."""
        return self._write(Restore(messages), _work(messages))

    async def get_message(self, kind: type[Message], device_id: str, message_id: int) -> Any:
        """Find one message, or ``None``."""
        if not is_integer_of_sqlite(message_id):
            self._check_open()
            return None
        table = MESSAGE_TABLES[kind]
        found = await self._read(table, *table.get(device_id, message_id), None)
        return found[0] if found else None

    async def find_messages(self, kind: type[Message], query: MessageQuery) -> list[Any]:
        """List messages."""
        table = MESSAGE_TABLES[kind]
        return await self._read(table, *table.find(query), query.size)

    async def back_up(self, write: Callable[[bytes], Awaitable[object]]) -> dict[str, int]:
        """Copy the file; see :meth:`~dhtwisted.interfaces.IBackedUpStorage.back_up`."""
        self._check_open()
        if self._copy is not None:
            raise StorageUnavailable("another backup is running: wait until it has ended")
        # If the file was replaced, its name leads to another one.
        problem = self._files.problem()
        if problem:
            raise StorageUnavailable(problem)
        self._copy = copy = Copy(self._path)
        copying = Worker(self._reactor, "storage copy")
        try:
            counts = await self._watch_damage(copying.call(copy.make), "copy")
            while portion := await copying.call(copy.read):
                await write(portion)
            return counts
        except StorageDamaged as error:
            if not error.lasts:
                raise
            raise StorageDamaged(f"{error}; {_AFTER_DAMAGE}", lasts=True) from error
        finally:
            copy.stop()
            await copying.stop(copy.close)
            self._copy = None

    def _check_open(self) -> None:
        if not self._open:
            raise StorageUnavailable("the storage is closed")

    def _table(self, kind: type[Entity]) -> EntityTable:
        self._check_open()
        return self._tables[kind]

    def _hangs(self, seconds: float) -> None:
        """Refuse writes until the running commit ends. If it succeeds in the end, its callers get their results."""
        self._hang = f"the process that writes {self._path} has not answered for {seconds} s: look at the disk, or whether it is stopped"
        self._batcher.reject_waiting(self._hang)

    def _commit(self, operations: list[Operation]) -> Deferred[list[Any]]:
        assert self._writer is not None
        done = self.statistics.measure_commit(self._writer.commit(operations), len(operations))
        return self._watch_damage(done, "commit")

    def _write(self, operation: Operation, rows: int = 1) -> Deferred[Any]:
        try:
            if not self._open:
                self._check_open()
            return self._batcher.submit(operation, rows)
        except StorageUnavailable:
            return fail()

    def _read(self, table: Table, sql: str, parameters: Sequence[Any], size: int | None) -> Deferred[list[Any]]:
        self._check_open()
        reading = self._readers.select(table, sql, parameters, size)
        done = self.statistics.measure_read(Deferred.fromCoroutine(reading))
        return self._watch_damage(done, "read")

    def _watch_damage(self, done: Deferred[T], task: str) -> Deferred[T]:
        """Note when a task finds damage. A failure of the disk is forgotten when the same task succeeds again."""
        return done.addCallbacks(self._succeeded, self._failed, callbackArgs=(task,), errbackArgs=(task,))

    def _succeeded(self, result: T, task: str) -> T:
        if self._hang and task == "commit":
            self._hang = ""
        if self._damages and task in self._damages and not self._damages[task].lasts:
            del self._damages[task]
        return result

    def _failed(self, failure: Failure, task: str) -> Failure:
        if self._hang and task == "commit":
            self._hang = ""
        if isinstance(failure.value, StorageDamaged):
            self._note_damage(failure.value, task)
        return failure

    def _note_damage(self, error: StorageDamaged, task: str = "update") -> None:
        if isinstance(error, RowDamaged):
            self._log.error("{path}: {damage}; whoever asks for it gets 503", path=self._path, damage=str(error))
        if not (task in self._damages and self._damages[task].lasts):
            # A new error, without the traceback and the objects that it keeps alive.
            self._damages[task] = StorageDamaged(str(error), error.lasts)


def _work(messages: Sequence[Message]) -> int:
    """Estimate the work to store messages: one for each, and more for those of many kilobytes."""
    work = len(messages)
    for message in messages:
        if message.parameters is not None and len(message.parameters) >= LARGE:
            work += len(message.parameters) // LARGE
    return work

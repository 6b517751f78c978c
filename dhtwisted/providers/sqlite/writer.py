"""Commits batches of operations to the SQLite file. A separate process does it. If the process dies, another takes its place.

If it dies during a commit, the file tells whether the commit was done. If so, the callers get their results as usual, otherwise an error.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.python.failure import Failure

from dhtwisted.errors import (
    UNREADABLE,
    ConfigurationError,
    Duplicate,
    RowDamaged,
    StorageDamaged,
    StorageError,
    StorageUnavailable,
    Unstorable,
    WriterLost,
)
from dhtwisted.kit.entity_tables import EntityTable, entity_tables
from dhtwisted.kit.reactor import IReactor
from dhtwisted.kit.server_time import ForwardTime
from dhtwisted.kit.worker import Worker
from dhtwisted.model import ENTITY_KINDS, MESSAGE_KINDS, Entity
from dhtwisted.providers.sqlite.data_files import MARK, DataFiles
from dhtwisted.providers.sqlite.database import connect_reader, connect_writer
from dhtwisted.providers.sqlite.entity_bodies import body_decoder
from dhtwisted.providers.sqlite.mark import BATCH, IN_USE, TIME, write_whole_mark
from dhtwisted.providers.sqlite.operations import UPDATE, Batch, Operation
from dhtwisted.providers.sqlite.process import WriterProcess
from dhtwisted.providers.sqlite.program import PUT_COUNTER
from dhtwisted.providers.sqlite.row_checksum import is_whole
from dhtwisted.providers.sqlite.steps import DAMAGED, DONE, TAKEN, UNAVAILABLE, frame
from dhtwisted.providers.sqlite.transaction import connect, transaction, translated_errors

if TYPE_CHECKING:
    from dhtwisted.providers.sqlite.steps import Answer

T = TypeVar("T")
Tables = dict[type[Entity], EntityTable]


PAUSE = 1.0
"""Seconds to wait after a failed start of the process before the next attempt."""


class Writer:
    """Commits batches of operations, one batch at a time.

    :param reactor: gives the time, and receives answers from the process.
    :param path: of the data file.
    :param lock: descriptor of the lock on the file, for the process.
    :param tables: the committed entities of each kind.
    :param counters: name -> committed value.
    :param files: the files by their inodes, to detect that one was replaced.
    """

    _log = Logger()

    def __init__(self, reactor: IReactor, path: str, lock: int, tables: Tables, counters: dict[str, int], files: DataFiles) -> None:
        self._reactor = reactor
        self._path = path
        self._lock = lock
        self._tables = tables
        self._counters = counters
        self._files = files
        self._time = 0
        self._forward_time = ForwardTime()
        self._process: WriterProcess | None = None
        self._unanswered: Batch | None = None
        self._abandoned = False
        self._failed_at = -PAUSE

    async def start(self) -> WriterProcess:
        """Start the process.

        :raises StorageUnavailable: it does not start, it cannot use the file, or the file was replaced.
        """
        self._refuse_other_files()
        process = WriterProcess(self._reactor, self._path, self._lock)
        try:
            _results(await process.send(frame([])))
        except StorageError:
            await process.stop()
            raise
        self._process = process
        process.ended.addCallback(self._ended, process)
        return process

    async def stop(self, hangs: bool = False) -> None:
        """Stop the process and wait until it has ended. No commit may be running.

        :param hangs: a commit is running but hangs: kill the process.
        """
        process, self._process = self._process, None
        if process is not None:
            if hangs:
                self._abandoned = True
                process.kill()
            await process.stop()

    def commit(self, operations: list[Operation]) -> Deferred[list[Any]]:
        """Commit a batch, as :class:`~dhtwisted.kit.batching.Batcher` needs it.

        :returns: a Deferred of a list: the result of each operation, or its ``Failure``.
        """
        if self._process is None:
            return Deferred.fromCoroutine(self._commit_after_restart(operations))
        last = max(self._time, self._counters[TIME])
        batch = Batch(self._tables, self._counters, self._forward_time.next_after(last, int(self._reactor.seconds() * 1000)))
        errors = _prepare(operations, batch)
        self._time = batch.now
        if batch.changes_nothing:
            return succeed(_outcomes(operations, errors))
        done = self._process.send(_frame(batch))
        self._unanswered = batch
        done.addCallbacks(self._answered, self._lost, callbackArgs=(batch,), errbackArgs=(batch,))
        return done.addCallback(lambda _: _outcomes(operations, errors))

    def _answered(self, answer: Answer, batch: Batch) -> None:
        self._unanswered = None
        results = _results(answer)
        self._counters = batch.counters
        batch.entities.apply()
        batch.take(results)

    def _ended(self, _: None, process: WriterProcess) -> None:
        if self._process is process:
            self._process = None
            self._log.error("The process that writes {path} has {end}; the next write starts another", path=self._path, end=process.end)

    def _lost(self, failure: Failure, batch: Batch) -> Failure | Deferred[None]:
        failure.trap(WriterLost)
        if self._abandoned:
            # The lock is released soon, so this process must not use the file any more.
            return failure
        return Deferred.fromCoroutine(self._find_outcome(batch, failure.value))

    async def _find_outcome(self, batch: Batch, error: BaseException) -> None:
        """Finish a batch whose answer was lost, if it was committed.

        :raises StorageUnavailable: it was not committed, or nobody can tell.
        """
        if not await self._read_committed_state():
            raise error
        results = []
        if batch.asking:
            process = await self._restart()
            results = _results(await process.send(frame([operation.step_to_repeat() for operation in batch.asking])))
        batch.take(results)

    async def _commit_after_restart(self, operations: list[Operation]) -> list[Any]:
        if await self._read_committed_state():
            self._log.warn("What was refused when the process that writes {path} ended is stored all the same", path=self._path)
        await self._restart()
        return await self.commit(operations)

    async def _read_committed_state(self) -> bool:
        """Read the counters of the last commit from the file.

        :returns: whether the unanswered batch was committed.
        :raises StorageUnavailable: the file cannot be read now; call this again.
        """
        self._refuse_other_files()
        self._counters = await _in_thread(self._reactor, recover_counters, self._path)
        batch, self._unanswered = self._unanswered, None
        if batch is None or batch.counters[BATCH] != self._counters[BATCH]:
            return False
        batch.entities.apply()
        return True

    def _refuse_other_files(self) -> None:
        """Raise an error if the name of a file belongs to another file now."""
        problem = self._files.problem()
        if problem:
            raise StorageUnavailable(problem)

    async def _restart(self) -> WriterProcess:
        now = self._reactor.seconds()
        if 0 <= now - self._failed_at < PAUSE:
            raise StorageUnavailable("the process that writes the storage file does not start")
        try:
            return await self.start()
        except StorageError:
            self._failed_at = now
            raise


def open_file(path: str, floor: dict[str, int]) -> tuple[sqlite3.Connection, Tables, dict[str, int]]:
    """Open the file, and read what the server keeps in memory.

    :param floor: name of a counter -> its lowest permitted value.
    :returns: a connection for reading, the tables of entities, and the counters.
    :raises ConfigurationError: the file cannot be used.
    """
    with closing(connect_writer(path)) as connection:
        try:
            tables = _read_entities(connection)
            counters = _read_counters(connection)
        except (sqlite3.Error, KeyError, StorageDamaged, *UNREADABLE) as error:
            cure = "restore a backup, or start once with --accept-loss to go on without what is damaged"
            raise ConfigurationError(f"storage file {path} is damaged: {error!r}; {cure}") from error
        counters |= {name: max(counters.get(name, 0), number) for name, number in floor.items()}
        _take_into_use(connection, path, counters)
        # Before the other connection is closed: the last one to close merges the log into the file and deletes it, which is not needed.
        return connect_reader(path), tables, counters


def _take_into_use(connection: sqlite3.Connection, path: str, counters: dict[str, int]) -> None:
    """Write the counters into the mark and then into the file, with the counter ``in_use``.

    The latter is also moved from the log into the file itself, so that a copy of the file alone is not taken for the whole data.
    """
    try:
        _put_mark(path, counters)
    except StorageUnavailable as error:
        raise ConfigurationError(f"cannot use storage file {path}: {error}") from error
    try:
        with transaction(connection):
            connection.executemany(PUT_COUNTER, [*counters.items(), (IN_USE, 1)])
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.OperationalError as error:
        # The data can still be read.
        if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
            raise ConfigurationError(f"cannot use storage file {path}: {error}") from error


def _put_mark(path: str, counters: dict[str, int]) -> None:
    """Write the mark.

    :raises StorageUnavailable: the mark cannot be written now.
    """
    try:
        write_whole_mark(path, counters)
    except OSError as error:
        raise StorageUnavailable(f"{path}{MARK} cannot be written: {error.strerror}") from error


def recover_counters(path: str) -> dict[str, int]:
    """Read the counters after the death of the process that writes, and make sure that they do not change any more.

    The last commit may be in the log unfinished, or finished but not synced. What this function writes replaces an unfinished commit, and
    syncs a finished one.

    :raises StorageUnavailable: the file cannot be used now.
    """
    with translated_errors(), closing(connect(path)) as connection:
        with transaction(connection):
            counters = _read_counters(connection)
            connection.execute(PUT_COUNTER, (BATCH, counters[BATCH]))
        _put_mark(path, counters)
        return counters


def _read_entities(connection: sqlite3.Connection) -> Tables:
    """Read the entities that are kept in memory. The rows of other kinds, of which there may be millions, are not visited."""
    tables = entity_tables()
    name = ""
    while (found := connection.execute("SELECT kind FROM entity WHERE kind > ? ORDER BY kind LIMIT 1", (name,)).fetchone()) is not None:
        (name,) = found
        kind = ENTITY_KINDS[name]
        if not kind.MANY:
            _read_kind(connection, tables[kind])
    return tables


def _read_kind(connection: sqlite3.Connection, table: EntityTable) -> None:
    decode = body_decoder(table.kind)
    for row in connection.execute("SELECT kind, key, body, checksum FROM entity WHERE kind = ?", (table.kind.KIND,)):
        if not is_whole(row):
            raise RowDamaged(*row[:2])
        entity = decode(row[2])
        table.put(entity.key, entity)


def _read_counters(connection: sqlite3.Connection) -> dict[str, int]:
    names = (TIME, BATCH, UPDATE, *MESSAGE_KINDS)
    return dict.fromkeys(names, 0) | dict(connection.execute("SELECT name, value FROM counter WHERE name <> ?", (IN_USE,)))


def _prepare(operations: list[Operation], batch: Batch) -> list[Failure | None]:
    """Put operations into a batch.

    :returns: for each operation ``None``, or its ``Failure`` if it cannot be done.
    """
    errors: list[Failure | None] = []
    for operation in operations:
        try:
            operation.prepare(batch)
        except StorageError:
            errors.append(Failure())
        else:
            errors.append(None)
    return errors


def _outcomes(operations: list[Operation], errors: list[Failure | None]) -> list[Any]:
    return [error or operation.finish() for operation, error in zip(operations, errors, strict=True)]


def _frame(batch: Batch) -> bytes:
    try:
        return frame(batch.steps())
    except (ValueError, OverflowError) as error:
        raise Unstorable(f"a value cannot be kept: {type(error).__name__}") from error


def _results(answer: Answer) -> list[tuple[int, list[Any]]]:
    sort, *content = answer
    if sort == DONE:
        return content[0]
    if sort == DAMAGED:
        raise StorageDamaged(*content)
    if sort == TAKEN:
        kind, key = content
        raise Duplicate((MESSAGE_KINDS | ENTITY_KINDS)[kind], "id", key)
    raise (StorageUnavailable if sort == UNAVAILABLE else Unstorable)(content[0])


def _in_thread(reactor: IReactor, function: Callable[..., T], *arguments: Any) -> Deferred[T]:
    """Run a function in a thread made for it.

    :returns: a Deferred of its result.
    """
    return Worker(reactor, "storage opener").stop(function, *arguments)

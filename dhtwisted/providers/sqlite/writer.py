"""Commits batches of operations to the SQLite file, by a process of its own that may die and is replaced.

When it dies with a batch in hand, the file tells whether that was committed: then it is answered as if nothing had happened, else refused.
"""

import sqlite3
from contextlib import closing

import msgspec
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
from dhtwisted.kit.entity_tables import entity_tables
from dhtwisted.kit.server_time import ForwardTime
from dhtwisted.kit.worker import Worker
from dhtwisted.model import ENTITY_KINDS, MESSAGE_KINDS
from dhtwisted.providers.sqlite.data_files import MARK
from dhtwisted.providers.sqlite.database import connect_reader, connect_writer
from dhtwisted.providers.sqlite.mark import BATCH, IN_USE, TIME, settle
from dhtwisted.providers.sqlite.operations import UPDATE, Batch
from dhtwisted.providers.sqlite.process import WriterProcess
from dhtwisted.providers.sqlite.program import PUT_COUNTER
from dhtwisted.providers.sqlite.row_checksum import is_whole
from dhtwisted.providers.sqlite.steps import DAMAGED, DONE, TAKEN, UNAVAILABLE, frame
from dhtwisted.providers.sqlite.transaction import connect, transaction, translated_errors

PAUSE = 1.0
"""Seconds without an attempt to start the process after one that failed."""


class Writer:
    """Commits batches of operations, one batch at a time.

    :param reactor: gives the time, and takes answers from the process.
    :param path: of the file.
    :param lock: a descriptor of the lock on it, for the process.
    :param tables: kind -> :class:`~dhtwisted.kit.entity_tables.EntityTable`, as committed.
    :param counters: name -> value, as committed.
    :param files: a :class:`~dhtwisted.providers.sqlite.data_files.DataFiles`.
    """

    _log = Logger()

    def __init__(self, reactor, path, lock, tables, counters, files):
        self._reactor = reactor
        self._path = path
        self._lock = lock
        self._tables = tables
        self._counters = counters
        self._files = files
        self._time = 0
        self._forward_time = ForwardTime()
        self._process = None
        self._unanswered = None
        self._abandoned = False
        self._failed_at = -PAUSE

    async def start(self):
        """Start the process.

        :raises StorageUnavailable: it does not start, or cannot use the file, or that has another file's name now.
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

    async def stop(self, hangs=False):
        """Have the process finish, and wait for its end. Nothing is under way.

        :param hangs: something is under way, and will not be waited for.
        """
        process, self._process = self._process, None
        if process is not None:
            if hangs:
                self._abandoned = True
                process.kill()
            await process.stop()

    def commit(self, operations):
        """Do what :class:`~dhtwisted.kit.batching.Batcher` asks.

        :returns: a Deferred of a list: the result of each operation, or a ``Failure``.
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

    def _answered(self, answer, batch):
        self._unanswered = None
        results = _results(answer)
        self._counters = batch.counters
        batch.entities.apply()
        batch.take(results)

    def _ended(self, _, process):
        if self._process is process:
            self._process = None
            self._log.error("The process that writes {path} has {end}; the next write starts another", path=self._path, end=process.end)

    def _lost(self, failure, batch):
        failure.trap(WriterLost)
        if self._abandoned:
            # The lock will be gone: the file is not ours to look at.
            return failure
        return Deferred.fromCoroutine(self._find_out(batch, failure.value))

    async def _find_out(self, batch, error):
        """Finish a batch whose answer did not come, if it was committed.

        :raises StorageUnavailable: it was not, or it is not known.
        """
        if not await self._take_stock():
            raise error
        results = []
        if batch.asking:
            await self._restart()
            results = _results(await self._process.send(frame([operation.recall() for operation in batch.asking])))
        batch.take(results)

    async def _commit_after_restart(self, operations):
        if await self._take_stock():
            self._log.warn("What was refused when the process that writes {path} ended is stored all the same", path=self._path)
        await self._restart()
        return await self.commit(operations)

    async def _take_stock(self):
        """Read how far the file is.

        :returns: whether the batch that was not answered is in it.
        :raises StorageUnavailable: it cannot be read; to be done again.
        """
        self._refuse_other_files()
        self._counters = await _in_thread(self._reactor, settled_counters, self._path)
        batch, self._unanswered = self._unanswered, None
        if batch is None or batch.counters[BATCH] != self._counters[BATCH]:
            return False
        batch.entities.apply()
        return True

    def _refuse_other_files(self):
        """Open nothing by a name that is another file's by now."""
        problem = self._files.problem()
        if problem:
            raise StorageUnavailable(problem)

    async def _restart(self):
        now = self._reactor.seconds()
        if 0 <= now - self._failed_at < PAUSE:
            raise StorageUnavailable("the process that writes the storage file does not start")
        try:
            await self.start()
        except StorageError:
            self._failed_at = now
            raise


def open_file(path, floor):
    """Open the file, and read what is kept in memory.

    :param floor: name of a counter -> what it must not be below.
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
        # Before the other one is closed: the last to close the file would fold the log into it and remove it, for nothing.
        return connect_reader(path), tables, counters


def _take_into_use(connection, path, counters):
    """Put the counters into the mark first and then into the data, with the word that a server is at it, also in the file itself: so a copy
    of that alone does not pass for the whole.
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
        # What is there can still be read.
        if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
            raise ConfigurationError(f"cannot use storage file {path}: {error}") from error


def _put_mark(path, counters):
    """Write the mark.

    :raises StorageUnavailable: it cannot be written now.
    """
    try:
        settle(path, counters)
    except OSError as error:
        raise StorageUnavailable(f"{path}{MARK} cannot be written: {error.strerror}") from error


def settled_counters(path):
    """Read the counters when the process that writes has died, and make sure that they stay true.

    Of its last commit all may have been written but the mark that makes it valid, and the next one to recover the file would find it. What
    is written here takes its place in the log; and where it was valid, but not synced, it is now.

    :raises StorageUnavailable: the file cannot be used now.
    """
    with translated_errors(), closing(connect(path)) as connection:
        with transaction(connection):
            counters = _read_counters(connection)
            connection.execute(PUT_COUNTER, (BATCH, counters[BATCH]))
        _put_mark(path, counters)
        return counters


def _read_entities(connection):
    tables = entity_tables()
    for name, key, body, checksum in connection.execute("SELECT kind, key, body, checksum FROM entity"):
        if not is_whole((name, key, body, checksum)):
            raise RowDamaged(name, key)
        entity = msgspec.json.decode(body, type=ENTITY_KINDS[name])
        tables[type(entity)].put(entity.key, entity)
    return tables


def _read_counters(connection):
    names = (TIME, BATCH, UPDATE, *MESSAGE_KINDS)
    return dict.fromkeys(names, 0) | dict(connection.execute("SELECT name, value FROM counter WHERE name <> ?", (IN_USE,)))


def _prepare(operations, batch):
    """Put operations into a batch.

    :returns: a list with ``None`` for each, or the ``Failure`` of one that cannot be done.
    """
    errors = []
    for operation in operations:
        try:
            operation.prepare(batch)
        except StorageError:
            errors.append(Failure())
        else:
            errors.append(None)
    return errors


def _outcomes(operations, errors):
    return [error or operation.finish() for operation, error in zip(operations, errors, strict=True)]


def _frame(batch):
    try:
        return frame(batch.steps())
    except (ValueError, OverflowError) as error:
        raise Unstorable(f"a value cannot be kept: {type(error).__name__}") from error


def _results(answer):
    sort, *content = answer
    if sort == DONE:
        return content[0]
    if sort == DAMAGED:
        raise StorageDamaged(*content)
    if sort == TAKEN:
        raise Duplicate(MESSAGE_KINDS[content[0]], "id", content[1])
    raise (StorageUnavailable if sort == UNAVAILABLE else Unstorable)(content[0])


def _in_thread(reactor, function, *arguments):
    """Run a function in a thread made for it.

    :returns: a Deferred of its result.
    """
    return Worker(reactor, "storage opener").stop(function, *arguments)

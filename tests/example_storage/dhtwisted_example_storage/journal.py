"""A message storage over a plain file: each operation is a line, and what is stored is what the lines say.

A line is written, and synced to the disk, before the operation takes effect in memory and its caller is told. Opening the file does all
operations once more, so a restart finds what was there. Everything is also in memory, and the file only grows.
"""

import fcntl
import os
from contextlib import suppress

import msgspec
from msgspec.structs import replace
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure
from zope.interface import implementer

from dhtwisted.errors import UNREADABLE, ConfigurationError, Duplicate, StorageUnavailable, Unstorable
from dhtwisted.interfaces import IMessageStorage
from dhtwisted.kit.batching import Batcher
from dhtwisted.kit.message_log import MessageLog
from dhtwisted.model import MESSAGE_KINDS, Command, MessageQuery, Notification


class Append(msgspec.Struct, tag=True):
    """Messages with their stamps."""

    now: int
    commands: list[Command]
    notifications: list[Notification]

    def apply(self, logs):
        for message in (*self.commands, *self.notifications):
            if message.arrived is None:
                # A line of a journal from before messages had this.
                message.arrived = min(message.timestamp, self.now)
            logs[type(message)].put(message)
        return self


class Restore(Append, tag=True):
    """Messages with the stamps that they have from elsewhere; written down before it is known whether their ids are free."""

    def apply(self, logs):
        try:
            for message in (*self.commands, *self.notifications):
                logs[type(message)].check_free(message.id)
        except Duplicate:
            return Failure()
        return super().apply(logs)


class UpdateCommand(msgspec.Struct, tag=True):
    """What became of a command; a field that was not given is unset, which is not the same as None."""

    now: int
    device_id: str
    command_id: int
    status: str | msgspec.UnsetType | None = msgspec.UNSET
    result: bytes | msgspec.UnsetType | None = msgspec.UNSET

    def apply(self, logs):
        fields = {"status": self.status, "result": self.result}
        changes = {field: value for field, value in fields.items() if value is not msgspec.UNSET}
        return logs[Command].update_command(self.device_id, self.command_id, self.now, changes)


class Forget(msgspec.Struct, tag=True):
    """Which messages to delete; done again after a restart, it finds the same ones."""

    now: int
    kind: str
    query: MessageQuery

    def apply(self, logs):
        return logs[MESSAGE_KINDS[self.kind]].forget(self.query)


_encode = msgspec.json.Encoder().encode
decode_line = msgspec.json.Decoder(Append | Restore | UpdateCommand | Forget).decode


@implementer(IMessageStorage)
class JournalStorage:
    """Keeps commands and notifications in a journal.

    :param path: of the file.
    :param reactor: gives time and threads.
    """

    durability = "durable"

    def __init__(self, path, reactor):
        self._path = os.path.abspath(path)
        self._reactor = reactor
        self._open = False
        self._batcher = Batcher(self._commit)
        self.state_directory = os.path.dirname(self._path)

    async def open(self):
        """Lock and read the file. Nobody is served yet, so this may take its time."""
        try:
            self._file = open(self._path, "ab", buffering=0)  # noqa: SIM115 - until close
        except OSError as error:
            raise ConfigurationError(f"cannot open journal {self._path}: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._size = self._replay()
            self._sync_directory()
        except BlockingIOError:
            self._file.close()
            raise ConfigurationError(f"journal {self._path} is in use by another process; name another file") from None
        except BaseException:
            self._file.close()
            raise
        self._open = True

    async def close(self):
        """Finish what was accepted."""
        if self._open:
            self._open = False
            await self._batcher.drain()
            self._file.close()

    async def append(self, messages):
        """Store messages, and stamp them when they are safe."""
        stored = await self._write_down(lambda now, last_ids: _stamped(messages, now, last_ids))
        copies = {Command: iter(stored.commands), Notification: iter(stored.notifications)}
        for message in messages:
            copy = next(copies[type(message)])
            message.id, message.timestamp, message.arrived = copy.id, copy.timestamp, copy.arrived
            if isinstance(message, Command):
                message.last_updated = copy.last_updated

    async def update_command(self, device_id, command_id, changes):
        """Record what became of a command."""
        return await self._write_down(lambda now, last_ids: UpdateCommand(now, device_id, command_id, **changes))

    async def forget_messages(self, kind, query):
        """Delete messages, those first that arrived first."""
        return await self._write_down(lambda now, last_ids: Forget(now, kind.KIND, query))

    async def get_message(self, kind, device_id, message_id):
        """Find one message."""
        self._check_open()
        return self._logs[kind].get(device_id, message_id)

    async def find_messages(self, kind, query):
        """List messages."""
        self._check_open()
        return self._logs[kind].find(query)

    async def restore(self, messages):
        """Store messages as they are."""
        await self._write_down(lambda now, last_ids: _restored(messages, now, last_ids))

    def _check_open(self):
        if not self._open:
            raise StorageUnavailable("the journal is closed")

    def _write_down(self, make_record):
        self._check_open()
        return self._batcher.submit(make_record)

    def _commit(self, operations):
        """Write down a batch of operations in a thread, since syncing waits for the disk; then do them."""
        now = max(self._now, int(self._reactor.seconds() * 1000))
        last_ids = {kind: log.last_id for kind, log in self._logs.items()}
        lines, records = [], []
        for make_record in operations:
            ids = dict(last_ids)
            try:
                records.append(make_record(now, ids))
                lines.append(_encode(records[-1]) + b"\n")
                last_ids = ids
            except UnicodeEncodeError:
                records[-1] = Failure(Unstorable("text that is no Unicode cannot be kept"))
        written = deferToThreadPool(self._reactor, self._reactor.getThreadPool(), self._write, b"".join(lines))
        return written.addCallback(lambda _: [self._apply(record) for record in records])

    def _apply(self, record):
        if isinstance(record, Failure):
            return record
        self._now = max(self._now, record.now)
        return record.apply(self._logs)

    def _write(self, data):
        """Write and sync, or leave the file as it was."""
        try:
            self._file.truncate(self._size)
            rest = memoryview(data)
            while rest:
                rest = rest[self._file.write(rest) :]
            os.fsync(self._file.fileno())
        except OSError as error:
            with suppress(OSError):
                self._file.truncate(self._size)
            raise StorageUnavailable(f"the journal cannot be written: {error.strerror}") from error
        self._size += len(data)

    def _replay(self):
        """Do again what the file says, and find where it ends."""
        self._logs = {kind: MessageLog(kind) for kind in MESSAGE_KINDS.values()}
        self._now = size = 0
        with open(self._path, "rb") as lines:
            for line in complete_lines(lines):
                try:
                    self._apply(decode_line(line))
                except UNREADABLE as error:
                    raise ConfigurationError(f"journal {self._path} is damaged at byte {size}: {error}") from error
                size += len(line)
        return size

    def _sync_directory(self):
        """Make the name of a new file durable as well."""
        directory = os.open(self.state_directory, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def complete_lines(file):
    """The lines of a journal. A last line without its end was never acknowledged."""
    for line in file:
        if not line.endswith(b"\n"):
            return
        yield line


def _stamped(messages, now, last_ids):
    """Copies with ids and times: the messages themselves are stamped when they are stored, and stay as they are when that fails."""
    record = Append(now, [], [])
    for message in messages:
        kind = type(message)
        last_ids[kind] += 1
        timestamp = now if message.timestamp is None else message.timestamp
        if kind is Command:
            record.commands.append(replace(message, id=last_ids[kind], timestamp=timestamp, arrived=now, last_updated=timestamp))
        else:
            record.notifications.append(replace(message, id=last_ids[kind], timestamp=timestamp, arrived=now))
    return record


def _restored(messages, now, last_ids):
    """The record of messages that have their stamps. What is appended later, be it in the same batch, gets ids above theirs."""
    for message in messages:
        last_ids[type(message)] = max(last_ids[type(message)], message.id)
    of_kind = [[message for message in messages if type(message) is kind] for kind in (Command, Notification)]
    return Restore(now, *of_kind)

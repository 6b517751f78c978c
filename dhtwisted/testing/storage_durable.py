"""The contract of a storage that says ``durable``: what was acknowledged is there after a restart, and after kill -9."""

import os
import sys
from collections import Counter

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol

from dhtwisted.interfaces import IEntityStorage
from dhtwisted.model import Command, EntityQuery, MessageQuery, Network, Notification
from dhtwisted.testing.storage_base import EVERYTHING, StorageContract, command, notification, now

ENOUGH = 300
"""Acknowledgements after which the writing process is killed; it goes on writing until then."""

PATIENCE = 60
"""Seconds until the writing process must have acknowledged so many."""


class KilledWriter(ProcessProtocol):
    """Reads acknowledgements from a process, and kills it when it has enough of them.

    :ivar ended: a Deferred; fires when the process is gone.
    """

    def __init__(self):
        self.ended = Deferred()
        self.output = b""
        self.errors = b""

    def outReceived(self, data):
        self.output += data
        if self.output.count(b"\n") >= ENOUGH and self.transport.pid:
            self.transport.signalProcess("KILL")

    def errReceived(self, data):
        self.errors += data

    def processEnded(self, reason):
        self.ended.callback(None)

    def acknowledged(self):
        """The whole lines that the process wrote."""
        return [line.decode() for line in self.output.split(b"\n")[:-1]]


class DurableStorageContract(StorageContract):
    """What ``durable`` promises. The class must be importable by its name: a process of its own runs :meth:`make_storage`."""

    def test_says_durable(self, storage):
        assert storage.durability == "durable", "a storage that promises this says so in its attribute durability"

    @pytest_twisted.ensureDeferred
    async def test_messages_outlive_a_restart(self, clock, tmp_path):
        sent = [command(parameters=b'{"a": 1.10}'), notification("first"), notification("second", timestamp=5)]
        async with self.opened(clock, tmp_path) as storage:
            await storage.append(sent[1:2])
            clock.time += 1
            await storage.append([sent[0], sent[2]])
            sent[0] = await storage.update_command("a", 1, {"status": "done", "result": b"[]"})
            await storage.forget_messages(Notification, MessageQuery(before=now(clock)))
        arrived, clock.time = now(clock), clock.time + 1
        async with self.opened(clock, tmp_path) as storage:
            assert await storage.find_messages(Command, EVERYTHING) == [sent[0]], "a command is as it was, with its update"
            found = await storage.find_messages(Notification, EVERYTHING)
            assert found == [sent[2]], "what was deleted stays deleted, and what was not is as it was, also when it arrived"
            for before, gone in ((arrived, 0), (arrived + 1, 1)):
                query = MessageQuery(before=before, take=100)
                assert await storage.forget_messages(Notification, query) == gone, "a message is as old after a restart as it was before"

    @pytest_twisted.ensureDeferred
    async def test_ids_and_times_go_on_after_a_restart(self, clock, tmp_path):
        before, after = notification(), notification()
        async with self.opened(clock, tmp_path) as storage:
            await storage.append(())
            await storage.append([before])
            await storage.forget_messages(Notification, EVERYTHING)
        clock.time -= 3600
        async with self.opened(clock, tmp_path) as storage:
            await storage.append([after])
        assert after.id == before.id + 1, "ids go on over restarts, also when no message is left"
        assert after.timestamp >= before.timestamp, "server times never step back over restarts, also when the clock did"

    @pytest_twisted.ensureDeferred
    async def test_restored_messages_outlive_a_restart(self, clock, tmp_path):
        kept = command(id=7, timestamp=5, arrived=8, last_updated=9, updated=True, status="done", result=b"[ 1.0]")
        gone, later = notification(id=12, timestamp=5, arrived=5), [command(), notification()]
        async with self.opened(clock, tmp_path) as storage:
            await storage.restore([kept, gone])
            await storage.forget_messages(Notification, EVERYTHING)
        async with self.opened(clock, tmp_path) as storage:
            assert await storage.find_messages(Command, EVERYTHING) == [kept], "a restored message is as it was after a restart"
            await storage.append(later)
        assert [m.id for m in later] == [8, 13], "ids lie above all restored ones after a restart, also when none of them is left"

    @pytest_twisted.ensureDeferred
    async def test_entities_outlive_a_restart(self, clock, tmp_path):
        async with self.opened(clock, tmp_path) as storage:
            if not IEntityStorage.providedBy(storage):
                return  # a provider of messages alone has none
            kept, removed = await storage.insert(Network(name="a")), await storage.insert(Network(name="b"))
            kept = await storage.update(Network, kept.id, {"description": "changed"})
            await storage.delete(Network, removed.id)
        async with self.opened(clock, tmp_path) as storage:
            assert await storage.find(Network, EntityQuery()) == [kept], "changes and removals are kept"
            assert (await storage.insert(Network(name="c"))).id == removed.id + 1, "a key is not given again after a restart"

    @pytest_twisted.ensureDeferred
    async def test_kill_9_loses_nothing_acknowledged(self, clock, tmp_path):
        writer = await self._write_until_killed(tmp_path)
        acknowledged = writer.acknowledged()
        assert len(acknowledged) >= ENOUGH, f"the writing process ended too early: {writer.errors.decode(errors='replace')}"
        async with self.opened(clock, tmp_path) as storage:
            found = {kind: await storage.find_messages(kind, EVERYTHING) for kind in (Command, Notification)}
            networks = await self._network_names(storage)
            later = notification()
            await storage.append([later])
        stored = {f"message {m.name} {m.id}" for m in found[Notification]} | {f"network {name}" for name in networks}
        assert set(acknowledged) <= stored, "whatever was acknowledged before kill -9 is there afterwards"
        names = {kind: Counter(m.name for m in found[kind]) for kind in found}
        assert names[Command] == names[Notification], "messages of one append are there all together or not at all"
        assert later.id > max(m.id for m in found[Notification]), "ids go on after kill -9"

    async def _write_until_killed(self, directory):
        from twisted.internet import reactor

        protocol = KilledWriter()
        contract = type(self)
        arguments = [sys.executable, "-m", "dhtwisted.testing.crash", contract.__module__, contract.__qualname__, str(directory)]
        process = reactor.spawnProcess(protocol, sys.executable, arguments, {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
        patience = reactor.callLater(PATIENCE, process.signalProcess, "KILL")
        await protocol.ended
        if patience.active():
            patience.cancel()
        else:
            pytest.fail(f"no {ENOUGH} acknowledgements within {PATIENCE} s: {protocol.errors.decode(errors='replace')}")
        return protocol

    async def _network_names(self, storage):
        return [n.name for n in await storage.find(Network, EntityQuery())] if IEntityStorage.providedBy(storage) else []

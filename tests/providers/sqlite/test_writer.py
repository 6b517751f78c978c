"""The process that writes may die at any moment: what was acknowledged is there, the rest wholly or not at all, and another one goes on."""

import psutil
import pytest
import pytest_twisted
from msgspec.structs import replace
from twisted.internet.defer import Deferred

from dhtwisted.errors import ConfigurationError, StorageUnavailable
from dhtwisted.model import EntityQuery, MessageQuery, Network, Notification
from dhtwisted.providers.sqlite import process as writer_process
from dhtwisted.providers.sqlite.storage import FileStorage
from dhtwisted.testing.storage.base import SettableReactor, begin, command, notification, outcomes, results
from tests.support.writers import EXITS, has_ended, program, writer_of

EVERYTHING = MessageQuery()

DIES_BEFORE_THE_ANSWER = """
import os, signal
send, batches = program._send, 0
def die_or_send(data):
    global batches
    batches += 1
    if batches == DEADLY:
        os.kill(os.getpid(), signal.SIGKILL)
    return send(data)
program._send = die_or_send
"""
"""The first batch opens the file; the next ones are those of the test."""

DIES_BEFORE_THE_COMMIT = """
import os, signal
from contextlib import contextmanager
transaction, batches = program.transaction, 0
@contextmanager
def die_or_commit(connection):
    global batches
    batches += 1
    with transaction(connection):
        yield
        if batches == DEADLY:
            os.kill(os.getpid(), signal.SIGKILL)
program.transaction = die_or_commit
"""


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "data.sqlite")


@pytest.fixture
def clock(reactor):
    return SettableReactor(reactor)


@pytest.fixture
def storage(path, clock):
    """A storage that a test opens itself."""
    storage = FileStorage(path, clock)
    yield storage
    pytest_twisted.blockon(storage.close())


@pytest.fixture
def dying(monkeypatch):
    """A function: processes that are started from now on die at a batch of this number, in one of the ways above. ``None`` ends that."""

    def change(way, deadly):
        monkeypatch.undo()
        if way is not None:
            monkeypatch.setattr(writer_process, "COMMAND", program(way.replace("DEADLY", str(deadly))))

    return change


@pytest.fixture
def starts(monkeypatch):
    """A function that says whether processes start from now on."""

    def change(possible):
        monkeypatch.undo()
        if not possible:
            monkeypatch.setattr(writer_process, "COMMAND", EXITS)

    return change


async def stored(storage, kind=Notification):
    return [(m.id, m.name) for m in await storage.find_messages(kind, EVERYTHING)]


async def kill(path):
    """Kill the process that writes, and wait until the server has taken note of that."""
    writer = writer_of(path)
    writer.kill()
    await turns(lambda: not psutil.pid_exists(writer.pid))


async def turns(condition):
    """Let the reactor turn until something is so."""
    from twisted.internet import reactor

    while not condition():
        turned = Deferred()
        reactor.callLater(0.001, turned.callback, None)
        await turned


@pytest_twisted.ensureDeferred
async def test_another_process_goes_on(storage, path):
    await storage.open()
    await storage.append([notification("before")])
    first = writer_of(path)
    await kill(path)
    await storage.append([notification("after")])
    assert await stored(storage) == [(1, "before"), (2, "after")]
    assert writer_of(path).pid != first.pid


@pytest_twisted.ensureDeferred
async def test_what_was_not_committed_is_refused(storage, path, dying):
    dying(DIES_BEFORE_THE_COMMIT, 2)
    await storage.open()
    dying(None, 0)
    sent = [notification("first"), notification("second"), notification("third")]
    found = await outcomes(*(storage.append([message]) for message in sent), storage.insert(Network(name="a")))
    assert isinstance(found[0], StorageUnavailable)
    assert found[1:] == [None, None, Network(name="a", id=1)], "those behind it are stored by the next process"
    assert sent[0] == notification("first"), "what was refused can be appended again"
    assert await stored(storage) == [(1, "second"), (2, "third")]


@pytest_twisted.ensureDeferred
async def test_what_was_committed_is_acknowledged_though_no_answer_came(storage, path, clock, dying):
    dying(DIES_BEFORE_THE_ANSWER, 3)
    await storage.open()
    dying(None, 0)
    given = command("given")
    blocking = storage.append([given, notification("old", timestamp=1)])
    message = notification("new")
    operations = [
        storage.append([message]),
        storage.update_command("a", 1, {"status": "done"}),
        storage.insert(Network(name="a")),
        storage.append([notification("last")]),
    ]
    await blocking
    assert await results(*operations) == [
        None,
        replace(given, status="done", updated=True, last_updated=given.timestamp + 1, update_id=1),
        Network(name="a", id=1),
        None,
    ]
    assert message.id == 2
    assert await stored(storage) == [(1, "old"), (2, "new"), (3, "last")], "once, and in order"
    assert await storage.find(Network, EntityQuery()) == [Network(name="a", id=1)]
    assert (await storage.insert(Network(name="b"))).id == 2


@pytest_twisted.ensureDeferred
async def test_deletions_of_which_no_answer_came(storage, path, dying):
    dying(DIES_BEFORE_THE_ANSWER, 3)
    await storage.open()
    dying(None, 0)
    await storage.append([notification(str(number)) for number in range(5)])
    assert await storage.forget_messages(Notification, MessageQuery(take=2)) == 2
    assert await stored(storage) == [(5, "4")], "they are done again, which only deletes the next ones that were to go as well"


@pytest.mark.slow
@pytest.mark.lowest
@pytest.mark.parametrize("way", [DIES_BEFORE_THE_COMMIT, DIES_BEFORE_THE_ANSWER])
@pytest_twisted.ensureDeferred
async def test_no_id_is_given_twice_however_many_die(storage, path, clock, dying, way):
    dying(way, 4)
    await storage.open()
    sent = [notification(str(number)) for number in range(3000)]
    found = await outcomes(*(storage.append([message]) for message in sent))
    acknowledged = [(message.id, message.name) for message, outcome in zip(sent, found, strict=True) if outcome is None]
    assert all(outcome is None or isinstance(outcome, StorageUnavailable) for outcome in found)
    assert await stored(storage) == acknowledged, "all that was acknowledged, in the order of appends, and nothing else"
    assert [message_id for message_id, _ in acknowledged] == list(range(1, len(acknowledged) + 1))
    dying(None, 0)
    await storage.close()
    await storage.open()
    assert await stored(storage) == acknowledged


@pytest_twisted.ensureDeferred
async def test_refused_until_a_process_starts(storage, path, clock, starts):
    await storage.open()
    await storage.append([notification("before")])
    starts(False)
    await kill(path)
    for _ in range(2):
        with pytest.raises(StorageUnavailable):
            await storage.append([notification("refused")])
    assert await stored(storage) == [(1, "before")], "reading goes on"
    starts(True)
    clock.time += 5
    await storage.append([notification("after")])
    assert await stored(storage) == [(1, "before"), (2, "after")]


@pytest_twisted.ensureDeferred
async def test_what_was_committed_counts_also_when_no_process_starts(storage, path, clock, dying, starts):
    dying(DIES_BEFORE_THE_ANSWER, 2)
    await storage.open()
    starts(False)
    await storage.append([notification("first")])
    with pytest.raises(StorageUnavailable):
        await storage.append([notification("refused")])
    starts(True)
    clock.time += 5
    later = notification("later")
    await storage.append([later])
    assert await stored(storage) == [(1, "first"), (2, "later")]


@pytest_twisted.ensureDeferred
async def test_closing_without_a_process(storage, path):
    await storage.open()
    await storage.append([notification("before")])
    await kill(path)
    await storage.close()
    await storage.open()
    assert await stored(storage) == [(1, "before")]


@pytest_twisted.ensureDeferred
async def test_closing_finishes_what_waits_though_the_process_dies(storage, path, clock, dying):
    dying(DIES_BEFORE_THE_COMMIT, 2)
    await storage.open()
    dying(None, 0)
    waiting = [begin(storage.append([notification(str(number))])) for number in range(3)]
    await storage.close()
    found = await outcomes(*waiting)
    assert isinstance(found[0], StorageUnavailable)
    assert found[1:] == [None, None]


@pytest_twisted.ensureDeferred
async def test_a_start_without_a_process_is_refused(storage, path, clock, starts):
    starts(False)
    with pytest.raises(ConfigurationError, match="data.sqlite: the process that writes the storage file has ended with status 3$"):
        await storage.open()
    starts(True)
    await storage.open()


@pytest_twisted.ensureDeferred
async def test_a_start_without_a_program_is_refused(storage, path, tmp_path, monkeypatch):
    monkeypatch.setattr(writer_process, "COMMAND", (str(tmp_path / "missing"),))
    with pytest.raises(ConfigurationError, match="cannot be started: .*No such file"):
        await storage.open()


@pytest_twisted.ensureDeferred
async def test_closing_ends_the_process(storage, path):
    await storage.open()
    writer = writer_of(path)
    await storage.close()
    assert has_ended(writer)

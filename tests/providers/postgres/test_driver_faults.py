"""Whatever a server sends, and wherever it stops, each wait for it ends, and each statement gets its own answer or none."""

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from dhtwisted.errors import StorageUnavailable
from dhtwisted.providers.postgres import connection as connection_module
from dhtwisted.providers.postgres.connection import HealingConnection
from dhtwisted.providers.postgres.dsn import parse
from dhtwisted.providers.postgres.outage import Outage
from tests.support.postgres.scripted import READY, ScriptedServer, error

pytestmark = [pytest.mark.slow, pytest.mark.lowest]

PATIENCE = 10
LIMIT = 0.2
"""Seconds of a statement here."""


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    for name, seconds in (("GRACE", 0.1), ("PING_SECONDS", 0.2), ("CONNECT_SECONDS", 0.2), ("FIRST_PAUSE", 0.01), ("LONGEST_PAUSE", 0.02)):
        monkeypatch.setattr(connection_module, name, seconds)


@pytest.fixture
def connect(reactor):
    """A function that opens a connection to a scripted server with a fault: ``connect(fault)``."""
    opened = []

    def open_one(fault=None, dsn=None):
        server = ScriptedServer(fault).listen(reactor)
        outage = Outage("the database")
        connection = HealingConnection(reactor, parse(dsn or server.dsn), outage, LIMIT, _listen, lambda payload: None)
        connection.open()
        opened.append((server, connection))
        return server, connection

    yield open_one
    for server, connection in opened:
        pytest_twisted.blockon(connection.close().addTimeout(PATIENCE, reactor))
        pytest_twisted.blockon(server.close())


async def _listen(execute):
    await execute("LISTEN here")


async def in_time(awaitable):
    """What comes of a coroutine or a Deferred, at the latest after :data:`PATIENCE`: its value, or a ``StorageUnavailable``."""
    try:
        return await started(awaitable).addTimeout(PATIENCE, _reactor())
    except StorageUnavailable as error:
        return error


def started(awaitable):
    return awaitable if isinstance(awaitable, Deferred) else Deferred.fromCoroutine(awaitable)


async def ask(connection, numbers, pause=0):
    """Ask a few questions, with pauses in seconds; each gets its own answer or none."""
    answers = []
    for number in range(numbers):
        await deferLater(_reactor(), pause)
        question = f"question {number}"
        answer = await in_time(connection.run("SELECT %s", (question,)))
        assert answer == [(question,)] or isinstance(answer, StorageUnavailable), answer
        answers.append(answer)
    return answers


class After:
    """Lets so many messages pass, counted over all answers, and then does something else, once and for all.

    :param number: of messages.
    :param then: called with the connection.
    """

    def __init__(self, number, then):
        self.passed = 0
        self._number = number
        self._then = then

    def __call__(self, connection, messages):
        left = self._number - self.passed
        self.passed += len(messages)
        if left >= 0:
            connection.send(messages[:left])
            if left < len(messages):
                self._then(connection)


FAULTS = {
    "is silent": lambda connection: None,
    "closes": lambda connection: connection.transport.loseConnection(),
    "resets": lambda connection: connection.transport.abortConnection(),
    "cuts the statement": lambda connection: connection.send([error(), READY]),
    "cuts the statement and is silent": lambda connection: connection.send([error()]),
    "shuts down": lambda connection: (
        connection.send([error("FATAL", "57P01", "terminating connection due to administrator command")]),
        connection.transport.loseConnection(),
    ),
    "says what is no message": lambda connection: connection.send([b"\xff" * 10]),
}


async def conversation(connect):
    """How many messages a server has sent when a connection is ready and a question is answered."""
    counting = After(10_000, FAULTS["is silent"])
    _, connection = connect(counting)
    await in_time(connection.wait())
    await ask(connection, 1)
    return counting.passed


@pytest.mark.parametrize(
    "fault", [pytest.param(fault, marks=[pytest.mark.slow, pytest.mark.lowest] if "silent" in fault else ()) for fault in FAULTS]
)
@pytest_twisted.ensureDeferred
async def test_whatever_happens_after_any_message_ends_the_wait(connect, fault):
    for number in range(await conversation(connect)):
        server, connection = connect(After(number, FAULTS[fault]))
        assert await in_time(connection.wait()) is None, number
        await ask(connection, 2)
        assert await in_time(connection.wait()) is None, number
        assert (await ask(connection, 3))[-1] == [("question 2",)], number
        assert len(server.accepted) == 2, number


@pytest_twisted.ensureDeferred
async def test_closing_ends_at_any_message(connect):
    for number in range(await conversation(connect)):
        reached = []
        _, connection = connect(After(number, reached.append))
        waiting = started(connection.wait())
        while not reached and not connection.up:
            await deferLater(_reactor(), 0)
        asked = started(connection.run("SELECT 'question'"))
        assert await in_time(connection.close()) is None, number
        assert connection.up is False
        assert isinstance(await in_time(asked), StorageUnavailable), number
        await in_time(waiting)


@pytest_twisted.ensureDeferred
async def test_a_conversation_may_come_byte_by_byte(connect, monkeypatch):
    monkeypatch.setattr(connection_module, "CONNECT_SECONDS", PATIENCE)
    waiting = []

    def drip():
        if waiting:
            connection, byte = waiting.pop(0)
            connection.transport.write(byte)
            _reactor().callLater(0, drip)

    def fault(connection, messages):
        begin = not waiting
        waiting.extend((connection, bytes([byte])) for byte in b"".join(messages))
        if begin:
            drip()

    server, connection = connect(fault)
    assert await in_time(connection.wait()) is None
    assert await ask(connection, 3) == [[(f"question {number}",)] for number in range(3)]
    assert len(server.accepted) == 1


class Belated:
    """A server whose time for a statement is over just as the statement ends: it sends the answer, and the error when it turns to what
    comes next.

    :param is_late: ``is_late(statement)``, asked once for the first that it is true of.
    :param parts: of the error: with the answer before, or with the answer after it.
    :param seconds: until the answer of the statement.
    """

    def __init__(self, is_late, parts, seconds):
        self._is_late = is_late
        self._before, self._after = parts
        self._seconds = seconds
        self._state = "waiting"

    def __call__(self, connection, messages):
        if self._state == "waiting" and connection.statements and self._is_late(connection.statements[-1]):
            self._state = "late"
            _reactor().callLater(self._seconds, connection.send, messages)
            _reactor().callLater(self._seconds + 0.01, connection.send, self._before)
        elif self._state == "late":
            self._state = "over"
            connection.send(self._after)
            _reactor().callLater(0.02, connection.send, messages)
        else:
            connection.send(messages)


PARTS = {"before": ([error(), READY], []), "between": ([error()], [READY]), "behind": ([], [error(), READY])}


@pytest.mark.parametrize("pause", [0, 0.03])
@pytest.mark.parametrize("parts", PARTS)
@pytest_twisted.ensureDeferred
async def test_an_error_behind_a_late_answer_is_nobodys_answer(connect, parts, pause):
    _, connection = connect(Belated(lambda statement: "question 0" in statement, PARTS[parts], LIMIT * 0.95))
    assert await in_time(connection.wait()) is None
    assert (await ask(connection, 4, pause))[0] == [("question 0",)]
    await in_time(connection.wait())
    assert await ask(connection, 2) == [[("question 0",)], [("question 1",)]]


@pytest.mark.parametrize("parts", PARTS)
@pytest_twisted.ensureDeferred
async def test_an_error_behind_the_set_up_is_nobodys_answer(connect, parts):
    _, connection = connect(Belated(lambda statement: "set_config" in statement or statement.startswith("SET"), PARTS[parts], 0))
    assert await in_time(connection.wait()) is None
    await ask(connection, 4)
    await in_time(connection.wait())
    assert await ask(connection, 2) == [[("question 0",)], [("question 1",)]]


@pytest_twisted.ensureDeferred
async def test_a_late_answer_alone_costs_no_connection(connect):
    server, connection = connect(Belated(lambda statement: "question 0" in statement, ([], []), LIMIT * 0.95))
    assert await in_time(connection.wait()) is None
    assert await ask(connection, 3) == [[(f"question {number}",)] for number in range(3)]
    assert len(server.accepted) == 1


@pytest_twisted.ensureDeferred
async def test_names_that_nobody_looks_up_are_given_up(connect, monkeypatch):
    real, first = connection_module.find_targets, [Deferred()]
    monkeypatch.setattr(connection_module, "find_targets", lambda *arguments: _never(first.pop()) if first else real(*arguments))
    _, connection = connect()
    assert await in_time(connection.wait()) is None


@pytest_twisted.ensureDeferred
async def test_closing_does_not_wait_for_names(connect, monkeypatch):
    monkeypatch.setattr(connection_module, "CONNECT_SECONDS", 3600)
    monkeypatch.setattr(connection_module, "find_targets", lambda *arguments: _never(Deferred()))
    _, connection = connect()
    assert await in_time(connection.close()) is None


async def _never(deferred):
    return await deferred


def _reactor():
    from twisted.internet import reactor

    return reactor

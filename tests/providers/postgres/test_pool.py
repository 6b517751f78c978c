"""Statements go to the first connection that is free."""

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from dhtwisted.errors import Overloaded, StorageUnavailable
from dhtwisted.providers.postgres import pool as pool_module
from dhtwisted.providers.postgres.pool import PATIENCE, Pool
from dhtwisted.testing.storage.base import outcomes


class SlowConnection:
    """Answers when a test says so.

    :ivar running: the statements under way, with what answers them.
    """

    def __init__(self, up=True):
        self.up = up
        self.running = []

    async def run(self, sql, values=None):
        if not self.up:
            raise StorageUnavailable("away")
        answer = Deferred()
        self.running.append((sql, answer))
        return await answer

    def answer(self):
        """Answer the oldest."""
        sql, answer = self.running.pop(0)
        answer.callback(sql)


@pytest.fixture
def clock():
    return Clock()


def start(pool, *statements):
    return [Deferred.fromCoroutine(pool.run(sql)) for sql in statements]


@pytest_twisted.ensureDeferred
async def test_each_connection_has_one_statement_and_the_others_wait_in_order(clock):
    connections = [SlowConnection(), SlowConnection()]
    asked = start(Pool(clock, connections), "a", "b", "c", "d")
    assert [[sql for sql, _ in connection.running] for connection in connections] == [["a"], ["b"]]
    connections[1].answer()
    assert [sql for sql, _ in connections[1].running] == ["c"]
    connections[1].answer()
    connections[0].answer()
    connections[1].answer()
    assert [await answer for answer in asked] == ["a", "b", "c", "d"]
    assert not clock.getDelayedCalls()


@pytest_twisted.ensureDeferred
async def test_a_connection_that_is_away_is_passed_over(clock):
    away, here = SlowConnection(up=False), SlowConnection()
    asked = start(Pool(clock, [away, here]), "a", "b")
    here.answer()
    here.answer()
    assert [await answer for answer in asked] == ["a", "b"]
    here.up = False
    (outcome,) = await outcomes(*start(Pool(clock, [away, here]), "c"))
    assert str(outcome) == "away", "when all are away, one says why"


@pytest_twisted.ensureDeferred
async def test_nobody_waits_for_ever(clock, monkeypatch):
    monkeypatch.setattr(pool_module, "MOST_WAITING", 1)
    pool = Pool(clock, [SlowConnection()])
    _, waiting, surplus = start(pool, "a", "b", "c")
    with pytest.raises(Overloaded):
        await surplus
    clock.advance(PATIENCE)
    with pytest.raises(Overloaded):
        await waiting


@pytest_twisted.ensureDeferred
async def test_draining_waits_for_every_answer(clock):
    connection = SlowConnection()
    pool = Pool(clock, [connection])
    await pool.drain()
    start(pool, "a", "b")
    drained = pool.drain()
    connection.answer()
    assert not drained.called
    connection.answer()
    assert drained.called

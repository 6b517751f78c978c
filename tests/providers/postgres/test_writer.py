"""Writing to PostgreSQL: commits are shared, and end with an answer whatever happens on the way."""

import psycopg2
import pytest
import pytest_twisted
from twisted.internet.task import deferLater

from dhtwisted.errors import StorageUnavailable, Unstorable
from dhtwisted.model import Command, MessageQuery, Notification
from dhtwisted.providers.postgres import storage as module
from dhtwisted.providers.postgres.storage import PostgresStorage
from dhtwisted.testing.storage.base import command, notification, outcomes, results
from tests.support.proxy import FaultProxy

EVERYTHING = MessageQuery()


@pytest_twisted.async_yield_fixture
async def storage(database, reactor):
    """An opened storage."""
    storage = PostgresStorage(database, reactor)
    await storage.open()
    yield storage
    await storage.close()


@pytest.fixture
def commits(storage):
    """What was told of each commit: how many commands, notifications and updates."""
    told = []
    storage.writer.listener = lambda batch, heads: told.append((len(batch.commands), len(batch.notifications), len(batch.updates), heads))
    return told


@pytest_twisted.ensureDeferred
async def test_what_comes_during_a_commit_shares_the_next(storage, commits):
    await results(*(storage.append([notification(), command()]) for _ in range(50)))
    assert [counts[:3] for counts in commits] == [(1, 1, 0), (49, 49, 0)]
    assert commits[-1][3] == (50, 50, 0)


@pytest_twisted.ensureDeferred
async def test_inserts_and_updates_go_together(storage, commits):
    await storage.append([command() for _ in range(3)])
    found = await results(
        storage.append([notification()]),
        *(storage.update_command("a", n, {"status": str(n)}) for n in (1, 2, 9)),
        storage.append([command()]),
    )
    assert [counts[:3] for counts in commits[1:]] == [(1, 1, 3)]
    assert [update and (update.id, update.status) for update in found[1:4]] == [(1, "1"), (2, "2"), None]


@pytest_twisted.ensureDeferred
async def test_updates_of_one_command_at_once_each_make_a_state(storage, commits):
    await storage.append([command()])
    found = await results(*(storage.update_command("a", 1, {"status": str(n)}) for n in range(5)))
    assert [update.status for update in found] == list("01234")
    assert len(commits) == 6


@pytest_twisted.ensureDeferred
async def test_a_bad_row_fails_alone(storage):
    found = await outcomes(
        *(storage.append([notification(str(n))]) for n in range(5)),
        storage.append([notification("a\0b")]),
        storage.append([notification(parameters=b"{")]),
        storage.update_command("a", 1, {"status": "\ud800"}),
        storage.append([notification("last")]),
    )
    assert [type(outcome) for outcome in found[5:8]] == [Unstorable] * 3
    assert found[:5] == [None] * 5
    assert [m.name for m in await storage.find_messages(Notification, EVERYTHING)] == [*"01234", "last"]
    assert [m.id for m in await storage.find_messages(Notification, EVERYTHING)] == list(range(1, 7)), "no id is lost"


@pytest_twisted.ensureDeferred
async def test_a_connection_that_breaks_in_a_commit_refuses_it_and_comes_back(postgres, database, reactor):
    from psycopg2.extensions import parse_dsn

    with FaultProxy(int(parse_dsn(database)["port"])) as proxy:
        storage = PostgresStorage(proxy.dsn(database), reactor)
        await storage.open()
        await storage.append([command("before")])
        proxy.freeze()
        broken = [storage.append([command(str(n))]) for n in range(3)]
        proxy.cut()
        proxy.thaw()
        assert {type(outcome) for outcome in await outcomes(*broken)} == {StorageUnavailable}
        while isinstance((await outcomes(storage.append([command("after")])))[0], StorageUnavailable):
            await deferLater(reactor, 0.05)
        names = [m.name for m in await storage.find_messages(Command, EVERYTHING)]
        assert (names[0], names[-1]) == ("before", "after")
        await storage.close()


@pytest_twisted.ensureDeferred
async def test_who_waits_behind_a_commit_that_hangs_is_refused_with_it(database, reactor, monkeypatch):
    monkeypatch.setattr(module, "WRITE_SECONDS", 0.3)
    storage = PostgresStorage(database, reactor)
    await storage.open()
    lock = psycopg2.connect(database)
    lock.cursor().execute("SELECT * FROM message_counter FOR UPDATE")
    appends = [storage.append([notification()]) for _ in range(3 * module.MAX_ROWS)]
    for append in appends:
        append.addErrback(lambda failure: failure.trap(StorageUnavailable))
    await appends[0]
    await deferLater(reactor, 0)
    assert all(append.called for append in appends)
    lock.close()
    await storage.append([notification("after")])
    assert [m.name for m in await storage.find_messages(Notification, EVERYTHING)] == ["after"]
    await storage.close()

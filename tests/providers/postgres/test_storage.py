"""The Postgres storage: the contract, and what a database adds to it."""

from contextlib import closing
from unittest.mock import patch

import psycopg2
import pytest
import pytest_twisted
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, DeferredList

from dhtwisted.errors import ConfigurationError, Duplicate, StorageUnavailable, Unstorable
from dhtwisted.kit.schema_scripts import schema_directory, script_count
from dhtwisted.model import Command, Device, EntityQuery, MessageQuery, Network, Notification, User, With
from dhtwisted.providers.postgres import storage as postgres
from dhtwisted.providers.postgres.storage import PostgresStorage
from dhtwisted.testing.storage import DurableStorageContract, EntityStorageContract, MessageStorageContract
from dhtwisted.testing.storage.base import StorageContract, command, notification, outcomes, results
from tests.support.postgres.shared import database_for

EVERYTHING = MessageQuery()


class TestPostgresStorage(EntityStorageContract, MessageStorageContract, DurableStorageContract):
    @pytest.fixture(autouse=True)
    def database_is_there(self, tmp_path):
        """A process that a test starts would make one of its own, were it the first to ask for it."""
        database_for(tmp_path)

    def make_storage(self, reactor, directory):
        return PostgresStorage(database_for(directory), reactor)


def execute(dsn, sql, *values):
    """Run a statement past the storage."""
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute(sql, values or None)
    rows = cursor.fetchall() if cursor.description else []
    connection.close()
    return rows


async def refusal(dsn, reactor):
    """The one line with which a storage refuses to open."""
    with pytest.raises(ConfigurationError) as caught:
        storage = PostgresStorage(dsn, reactor)
        await storage.open()
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestOddTexts(StorageContract):
    """Texts that meet what stands between the texts of a column."""

    def make_storage(self, reactor, directory):
        return PostgresStorage(database_for(directory), reactor)

    @pytest_twisted.ensureDeferred
    async def test_any_text_is_kept(self):
        texts = st.text(st.sampled_from("a'\\\"{},\x1f\x18\x1e\n\t é%$"), min_size=1, max_size=4)
        rows = st.lists(st.tuples(texts, texts, st.none() | texts | st.just("")), min_size=1, max_size=5)

        async def example(storage, rows):
            sent = [command(name, device, status=status) for name, device, status in rows]
            await storage.append(sent)
            assert await storage.find_messages(Command, EVERYTHING) == sent

        await self.for_all(example, rows=rows)


@pytest_twisted.ensureDeferred
async def test_ids_and_times_of_several_nodes_ascend_as_they_become_visible(open_storage):
    nodes = [await open_storage() for _ in range(3)]
    seen = []

    async def write(storage, name):
        for _ in range(20):
            await storage.append([notification(name) for _ in range(3)])

    async def read(storage):
        for _ in range(40):
            found = await storage.find_messages(Notification, EVERYTHING)
            seen.append([(m.id, m.timestamp) for m in found])

    await results(*(write(storage, "abc"[n]) for n, storage in enumerate(nodes)), *(read(storage) for storage in nodes))
    for snapshot in seen:
        assert [number for number, _ in snapshot] == list(range(1, len(snapshot) + 1)), "no id is visible before all below it"
    (*_, last) = sorted(seen, key=len)
    assert [time for _, time in last] == sorted(time for _, time in last)
    stored = await nodes[0].find_messages(Notification, EVERYTHING)
    assert len(stored) == 180
    for first in range(0, 180, 3):
        assert len({m.name for m in stored[first : first + 3]}) == 1, "an append stays together"


@pytest_twisted.ensureDeferred
async def test_several_nodes_open_an_empty_database_at_once(open_storage, database):
    await results(*(open_storage() for _ in range(4)))
    assert execute(database, "SELECT version FROM schema_version ORDER BY version") == [
        (number,) for number in range(1, script_count(schema_directory("dhtwisted.providers.postgres")) + 1)
    ]


@pytest_twisted.ensureDeferred
async def test_nodes_delete_old_messages_side_by_side(open_storage):
    nodes = [await open_storage() for _ in range(3)]
    await nodes[0].append([notification() for _ in range(300)])
    query = MessageQuery(take=100)
    assert sum(await results(*(node.forget_messages(Notification, query) for node in nodes))) == 300


@pytest_twisted.ensureDeferred
async def test_concurrent_changes_by_several_nodes_all_take_effect(open_storage):
    nodes = [await open_storage() for _ in range(3)]
    user = await nodes[0].insert(User(login="a"))
    changes = [nodes[n % 3].update(User, user.id, {"network_ids": With(frozenset({n}))}) for n in range(30)]
    await results(*changes)
    assert (await nodes[0].get(User, user.id)).network_ids == frozenset(range(30))
    found = await outcomes(*(node.insert(User(login="b")) for node in nodes))
    assert [type(outcome) for outcome in found if isinstance(outcome, Exception)] == [Duplicate] * 2


@pytest_twisted.ensureDeferred
async def test_a_newer_schema_is_refused_and_left_alone(open_storage, database, reactor):
    await open_storage()
    execute(database, "INSERT INTO schema_version VALUES (999)")
    assert "schema 999, newer than" in await refusal(database, reactor)
    execute(database, "DELETE FROM schema_version WHERE version = 999")
    await open_storage()


@pytest_twisted.ensureDeferred
async def test_what_waiting_does_not_mend_is_refused(postgres, reactor):
    assert "does not exist" in await refusal(postgres.dsn("no_such_database"), reactor)
    assert "the DSN cannot be read" in await refusal("host = = x", reactor)
    assert "client_encoding must be UTF8" in await refusal(postgres.dsn(client_encoding="LATIN1"), reactor)


@pytest_twisted.ensureDeferred
async def test_a_password_is_not_repeated(reactor):
    for dsn in ("password=geheim host", "postgresql://user:geheim@[host/x"):
        assert "geheim" not in await refusal(dsn, reactor)


@pytest_twisted.ensureDeferred
async def test_a_role_that_may_not_make_tables_is_refused(database, postgres, reactor):
    execute(database, "REVOKE CREATE ON SCHEMA public FROM public")
    execute(database, "CREATE ROLE weak LOGIN PASSWORD 'weak'")
    try:
        text = await refusal(psycopg2.extensions.make_dsn(database, user="weak", password="weak"), reactor)
    finally:
        execute(database, "DROP OWNED BY weak")
        execute(database, "DROP ROLE weak")
    assert "no tables can be made" in text
    assert "GRANT CREATE" in text


@pytest_twisted.ensureDeferred
async def test_a_database_of_another_encoding_is_refused(postgres, reactor):
    postgres.execute("CREATE DATABASE latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'")
    try:
        assert "has the encoding LATIN1" in await refusal(postgres.dsn("latin"), reactor)
    finally:
        postgres.execute("DROP DATABASE latin WITH (FORCE)")


@pytest_twisted.ensureDeferred
async def test_values_that_no_row_can_have(open_storage):
    storage = await open_storage()
    await storage.append([notification()])
    for bad in (
        lambda: storage.insert(Network(name="a\0")),
        lambda: storage.find(Network, EntityQuery(equal={"name": "\ud800"})),
        lambda: storage.insert(Device(id="x" * 100_000 + "y", name="d", network_id=2**80, device_type_id=1)),
    ):
        with pytest.raises(Unstorable):
            await bad()
    with pytest.raises(ValueError):
        await storage.find_messages(Notification, MessageQuery(sort="id; DROP TABLE notifications"))
    with pytest.raises(ValueError):
        await storage.find(Network, EntityQuery(sort="id; DROP TABLE networks"))
    await storage.insert(User(login="a"))
    for query in ({"equal": {"login": "a\0"}}, {"like": {"login": "%\0"}}, {"within": {"login": frozenset({"\0"})}}):
        assert await storage.find(User, EntityQuery(**query)) == [], "nothing has such a text"
    assert await storage.find_messages(Notification, MessageQuery(names=("a\0",))) == []
    beyond = MessageQuery(since=-(2**70), before=2**70, after=(-(2**70), 2**70), skip=0, take=2**70)
    assert len(await storage.find_messages(Notification, beyond)) == 1, "numbers beyond those of SQL are only large numbers"
    assert await storage.find(Network, EntityQuery(within={"id": frozenset({2**70})})) == []
    assert await storage.get(Network, 2**70) is None


@pytest_twisted.ensureDeferred
async def test_a_status_in_another_alphabet_is_found_whatever_its_case(open_storage):
    storage = await open_storage()
    await storage.append([command(status="ERLEDIGT Ä"), command(status="offen")])
    await storage.update_command("a", 2, {"status": "ÖFFNET"})
    for wanted, expected in (("erledigt ä", [1]), ("öffnet", [2]), ("OFFEN", [])):
        assert [m.id for m in await storage.find_messages(Command, MessageQuery(status=wanted))] == expected


@pytest_twisted.ensureDeferred
async def test_what_is_closed_while_it_waits_for_the_database(reactor, own_postgres):
    dsn = own_postgres.dsn("postgres")
    own_postgres.stop()
    storage = PostgresStorage(dsn, reactor)
    opening = storage.open()
    await storage.close()
    with pytest.raises(StorageUnavailable):
        await opening


@pytest_twisted.ensureDeferred
async def test_many_updates_of_a_command_that_is_locked_take_as_long_as_one(reactor, tmp_path):
    """Each waits for the one before it, and would be tried for the whole deadline of a commit."""
    dsn = database_for(tmp_path)
    with patch.object(postgres, "WRITE_SECONDS", 0.5):
        storage = PostgresStorage(dsn, reactor)
        await storage.open()
    try:
        await storage.append([command()])
        with closing(psycopg2.connect(dsn)) as locking:
            locking.cursor().execute("SELECT FROM commands FOR UPDATE")
            begun = reactor.seconds()
            updates = [Deferred.fromCoroutine(storage.update_command("a", 1, {"status": str(number)})) for number in range(300)]
            outcome = await DeferredList(updates, consumeErrors=True)
            assert reactor.seconds() - begun < 5
        assert {result.type for success, result in outcome if not success} == {StorageUnavailable}
        assert len([success for success, _ in outcome if not success]) == 300
        assert (await storage.update_command("a", 1, {"status": "end"})).status == "end"
    finally:
        await storage.close()

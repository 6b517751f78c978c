"""Every question that the server asks often is answered from an index, however much is stored."""

import json

import psycopg2
import pytest
import pytest_twisted

from dhtwisted.model import Command, MessageQuery, Notification
from dhtwisted.providers.postgres.messages import FEW, MESSAGE_TABLES
from dhtwisted.providers.postgres.storage import PostgresStorage
from tests.support.postgres.shared import database_for

TIME = 1_700_000_000_000
FEW_DEVICES = tuple(f"d{n}" for n in range(FEW))
MANY_DEVICES = tuple(f"d{n}" for n in range(2 * FEW))


@pytest.fixture(scope="module")
def cursor(tmp_path_factory, reactor):
    """A cursor on tables with 30,000 messages of 300 devices each."""
    dsn = database_for(tmp_path_factory.mktemp("messages"))
    storage = PostgresStorage(dsn, reactor)
    pytest_twisted.blockon(storage.open())
    pytest_twisted.blockon(storage.close())
    connection = psycopg2.connect(dsn)
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute(
        "INSERT INTO notifications (id, name, device_id, network_id, device_type_id, parameters, timestamp, arrived)"
        " SELECT n, 'n' || n %% 10, 'd' || n %% 300, 1, 1, '{}', %s + n, %s + n FROM generate_series(1, 30000) AS n",
        (TIME, TIME),
    )
    cursor.execute(
        "INSERT INTO commands (id, name, device_id, network_id, device_type_id, status, timestamp, last_updated, updated)"
        " SELECT n, 'n', 'd' || n %% 300, 1, 1, 'done', %s + n, %s + n, n %% 3 = 0 FROM generate_series(1, 30000) AS n",
        (TIME, TIME),
    )
    cursor.execute("ANALYZE notifications; ANALYZE commands")
    yield cursor
    connection.close()


def plan_nodes(plan):
    yield plan
    for child in plan.get("Plans", ()):
        yield from plan_nodes(child)


def plan(cursor, sql, values):
    """The nodes of a statement's plan."""
    cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", values)
    ((found,),) = cursor.fetchall()
    return list(plan_nodes((json.loads(found) if isinstance(found, str) else found)[0]["Plan"]))


@pytest.mark.parametrize(
    ("kind", "query", "index"),
    [
        (Notification, MessageQuery(device_ids=("d7",), descending=True, take=100), "notifications_of_device"),
        (Notification, MessageQuery(device_ids=("d7",), since=TIME + 29_000, take=500), "notifications_of_device"),
        (Notification, MessageQuery(device_ids=("d7",), sort="name", take=10), "notifications_of_device"),
        (Notification, MessageQuery(device_ids=FEW_DEVICES, since=TIME + 9_000, take=20), "notifications_of_device"),
        (Notification, MessageQuery(device_ids=MANY_DEVICES, since=TIME + 9_000, take=500), "notifications_by_time"),
        (Notification, MessageQuery(since=TIME + 9_000, take=500), "notifications_by_time"),
        (Notification, MessageQuery(since=TIME, after=(TIME + 9_000, 9_000), take=500), "notifications_by_time"),
        (Notification, MessageQuery(by_arrival=True, descending=True, take=1), "notifications_by_arrival"),
        (Command, MessageQuery(device_ids=("d7",), status="DONE", take=100), "commands_of_device"),
        (Command, MessageQuery(updated=True, by_update=True, since=TIME + 29_900, take=100), "updated_commands_by_time"),
        (Command, MessageQuery(device_ids=("d3",), updated=True, by_update=True, since=TIME, take=100), "updated_commands_of_device"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_plans(cursor, kind, query, index):
    nodes = plan(cursor, *MESSAGE_TABLES[kind].find(query))
    assert index in [node.get("Index Name") for node in nodes], nodes
    assert "Seq Scan" not in [node["Node Type"] for node in nodes], nodes


def test_one_message_and_the_oldest_are_found_by_an_index(cursor):
    table = MESSAGE_TABLES[Notification]
    for statement in (
        table.get("d7", 7),
        table.forget(MessageQuery(before=TIME + 500, take=100)),
        table.forget(MessageQuery(device_ids=("d7",), take=1000)),
    ):
        nodes = plan(cursor, *statement)
        assert not {"Seq Scan", "Sort"} & {node["Node Type"] for node in nodes}, nodes

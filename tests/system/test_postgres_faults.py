"""What a database may suffer under load: nothing acknowledged is lost, every request is answered in time, and it goes on by itself."""

import os
import threading
import time
from functools import partial

import psycopg2
import pytest
from psycopg2.extensions import parse_dsn

from tests.support.proxy import FaultProxy
from tests.support.servers.load import Load
from tests.support.servers.nodes import Nodes
from tests.support.servers.process import Refused
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

ANSWERED_WITHIN = 10
BACK_WITHIN = 15
"""Seconds until any request is answered, and until inserts go on after the database is back."""

STOPPED = float(os.environ.get("DHTWISTED_STOPPED_SECONDS", "20"))
"""Seconds for which the database hangs in one of the tests."""

CUTS = int(os.environ.get("DHTWISTED_CUTS", "3"))


@pytest.fixture
def nodes(tmp_path):
    nodes = Nodes(tmp_path)
    yield nodes
    nodes.close()


def pause(seconds):
    """Let a fault last."""
    threading.Event().wait(seconds)


def _answers(server):
    try:
        server.connect().close()
    except Refused:
        return False
    return True


def judge(load, server):
    """Bring a load to an end, and hold it to what was promised.

    :returns: the report.
    """
    load.stop_writing()
    wait_until(partial(_answers, server), "the server does not answer questions again", BACK_WITHIN)
    report = load.report()
    assert report.faults == {}
    assert report.overtaken == 0
    assert set(report.refused) <= {503}, report
    assert report.longest < ANSWERED_WITHIN, report
    return report


def test_the_database_crashes_and_comes_back(nodes, own_postgres):
    server = nodes.start("a", own_postgres.dsn("postgres"))
    with Load([server.url()], writers=4, readers=[server.url()]) as load:
        for _ in range(CUTS):
            load.go_on(100)
            own_postgres.kill()
            pause(0.5)
            own_postgres.start()
            load.go_on(1, BACK_WITHIN)
        report = judge(load, server)
    assert report.refused[503] > 0
    assert report.unanswered == 0, "connections of clients stay"


def test_the_database_is_shut_down_in_order_and_started(nodes, own_postgres):
    server = nodes.start("a", own_postgres.dsn("postgres"))
    with Load([server.url()], writers=4, readers=[server.url()]) as load:
        load.go_on(100)
        own_postgres.restart()
        load.go_on(100, BACK_WITHIN)
        judge(load, server)


def test_the_database_hangs(nodes, own_postgres):
    server = nodes.start("a", own_postgres.dsn("postgres"))
    other = server.connect()
    with Load([server.url()], writers=4, readers=[server.url()]) as load:
        load.go_on(100)
        own_postgres.suspend()
        end = time.monotonic() + STOPPED
        while time.monotonic() < end:
            other.call("server/info")
            pause(0.5)
        own_postgres.resume()
        load.go_on(100, BACK_WITHIN)
        report = judge(load, server)
    assert report.refused[503] > 0
    assert report.unanswered == 0, "connections of clients stay"


def test_connections_are_cut_and_freeze(nodes, database):
    with FaultProxy(int(parse_dsn(database)["port"])) as proxy:
        server = nodes.start("a", proxy.dsn(database))
        with Load([server.url()], writers=4, readers=[server.url()]) as load:
            for _ in range(CUTS):
                load.go_on(100)
                proxy.cut()
                load.go_on(100, BACK_WITHIN)
            proxy.freeze()
            pause(6)
            proxy.thaw()
            load.go_on(100, BACK_WITHIN)
            judge(load, server)


def test_a_commit_hangs(nodes, database):
    server = nodes.start("a", database)
    lock = psycopg2.connect(database)
    with Load([server.url()], writers=4, readers=[server.url()]) as load:
        load.go_on(100)
        lock.cursor().execute("SELECT * FROM message_counter FOR UPDATE")
        pause(6)
        lock.rollback()
        load.go_on(100, BACK_WITHIN)
        report = judge(load, server)
    lock.close()
    assert report.refused[503] > 0


def test_the_server_is_killed(nodes, database):
    server = nodes.start("a", database)
    with Load([server.url()], writers=4, readers=[server.url()]) as load:
        for _ in range(CUTS):
            load.go_on(200)
            server.kill()
            server = nodes.start("a", database)
        load.go_on(1)
        report = load.report()
    assert report.faults == {}
    assert report.overtaken == 0


def _start_when_it_is_missed(postgres, log_path):
    try:
        wait_until(lambda: log_path.exists() and "is away" in log_path.read_text(), "the server does not miss its database")
    finally:
        postgres.start()


def test_the_server_waits_for_a_database_that_is_not_up_yet(nodes, own_postgres):
    dsn = own_postgres.dsn("postgres")
    own_postgres.stop()
    coming = threading.Thread(target=_start_when_it_is_missed, args=(own_postgres, nodes.log_path("a")))
    coming.start()
    server = nodes.start("a", dsn)
    coming.join()
    assert "is back" in server.log
    server.connect().call("device/save", deviceId="d", device={})

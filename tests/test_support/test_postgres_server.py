"""A server of a test's own: it crashes, hangs and starts again as a test wants, and loses nothing."""

import os
import select
import socket
from contextlib import closing

import psutil
import psycopg2
import pytest

from tests.support.postgres.processes import lives
from tests.support.postgres.server import PostgresFailed, PostgresServer
from tests.support.postgres.workplace import workplace

pytestmark = pytest.mark.slow

SECONDS = 30


@pytest.fixture
def build():
    """A function that makes servers, not started yet."""
    servers = []

    def build_server(directory=None, **settings):
        servers.append(PostgresServer(directory, **settings))
        return servers[-1]

    yield build_server
    for server in servers:
        server.close()


@pytest.fixture
def table(own_postgres):
    """A server with a table of one row."""
    own_postgres.execute("CREATE TABLE entry (number int)")
    own_postgres.execute("INSERT INTO entry VALUES (%s)", 1)
    return own_postgres


def numbers(server):
    return [number for (number,) in server.execute("SELECT number FROM entry ORDER BY number")]


def test_settings(build):
    server = build(fsync="on", work_mem="7MB").start()
    shown = {name: server.execute(f"SHOW {name}")[0][0] for name in ("fsync", "work_mem", "max_connections", "autovacuum")}
    assert shown == {"fsync": "on", "work_mem": "7MB", "max_connections": "300", "autovacuum": "on"}
    server.settings["fsync"] = "off"
    assert server.restart().execute("SHOW fsync") == [("off",)]


def test_a_wrong_setting_is_named(build):
    with pytest.raises(PostgresFailed, match="max_connections"):
        build(max_connections="many").start()


def test_another_port_if_one_is_taken(build, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as taken, socket.create_server(("127.0.0.1", 0)) as free:
        port, free_port = taken.getsockname()[1], free.getsockname()[1]
        free.close()
        monkeypatch.setattr("tests.support.postgres.server.free_port", iter([port, free_port]).__next__)
        assert build().start().port == free_port


def test_access_over_tcp_needs_the_password(own_postgres):
    with closing(psycopg2.connect(own_postgres.dsn())) as connection:
        assert connection.info.host == "127.0.0.1"
    with pytest.raises(psycopg2.OperationalError, match="authentication failed"):
        psycopg2.connect(own_postgres.dsn(password="wrong"))


@pytest.mark.parametrize("fsync", ["off", "on"])
def test_a_crash_keeps_what_was_committed_and_only_that(build, fsync):
    server = build(fsync=fsync).start()
    server.execute("CREATE TABLE entry (number int)")
    port = server.port
    with closing(psycopg2.connect(server.dsn())) as connection:
        cursor = connection.cursor()
        for number in range(20):
            cursor.execute("INSERT INTO entry VALUES (%s)", (number,))
            connection.commit()
        cursor.execute("INSERT INTO entry VALUES (20)")
        server.kill()
        assert not server.running
        with pytest.raises(psycopg2.OperationalError):
            cursor.execute("SELECT 1")
    with pytest.raises(psycopg2.OperationalError, match="refused"):
        psycopg2.connect(server.dsn())
    server.start()
    assert numbers(server) == list(range(20))
    assert server.port == port
    assert "automatic recovery in progress" in server.log


@pytest.mark.parametrize("mode", ["smart", "fast", "immediate"])
def test_stopped_and_started(table, mode):
    port = table.port
    table.stop(mode)
    assert not table.running
    assert table.start().port == port
    assert numbers(table) == [1]


def test_restarted_while_it_hangs(table):
    table.suspend()
    assert numbers(table.restart()) == [1]


def test_a_server_that_hangs_answers_when_it_goes_on(table):
    with closing(psycopg2.connect(table.dsn())) as connection:
        query = b"Q\0\0\0\x0dSELECT 7\0"
        with socket.socket(fileno=os.dup(connection.fileno())) as raw:
            table.suspend()
            raw.sendall(query)
            assert select.select([raw], [], [], 0.2)[0] == [], "nothing is answered, and nothing closed"
            table.resume()
            assert select.select([raw], [], [], SECONDS)[0] == [raw]
            assert b"7" in raw.recv(1000)
    assert numbers(table) == [1]


def test_all_of_its_processes_end_with_a_crash(table):
    with closing(psycopg2.connect(table.dsn())):
        processes = [process for process in psutil.Process().children(recursive=True) if process.name() == "postgres"]
        ours = [process for process in processes if str(table.socket_directory) in " ".join(process.parent().cmdline())]
        assert len(ours) > 3
        table.suspend()
        table.kill()
    assert not any(map(lives, ours))


def test_databases(own_postgres):
    first, second = own_postgres.create_database(), own_postgres.create_database("two words")
    assert first != second
    with closing(psycopg2.connect(second)) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT current_database(), count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace")
        assert cursor.fetchone() == ("two words", 0)
        own_postgres.drop_database(second)
    names = {name for (name,) in own_postgres.execute("SELECT datname FROM pg_database")}
    assert "two words" not in names and len(names) == 4
    assert own_postgres.execute("SELECT current_database()", database="template1") == [("template1",)]


def test_a_directory_of_its_own_outlives_the_server(build):
    directory = workplace().new_directory() / "kept"
    first = build(directory).start()
    first.execute("CREATE TABLE entry (number int)")
    first.close()
    assert not first.socket_directory.exists()
    assert numbers(build(directory).start()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has another account run PostgreSQL")
def test_a_directory_that_the_account_cannot_reach(build, tmp_path):
    tmp_path.chmod(0o700)
    with pytest.raises(PostgresFailed, match="pass through"):
        build(tmp_path / "data").start()

"""The shared server: a database for each directory, the same in every process, also on a server that was given."""

from contextlib import closing

import psycopg2
from psycopg2.extensions import parse_dsn

from tests.support.postgres.scripts import run_python
from tests.support.postgres.shared import GIVEN, SCRATCH, database_for

INSERT = "CREATE TABLE IF NOT EXISTS entry (number int); INSERT INTO entry VALUES (1); SELECT count(*) FROM entry"


def query(dsn, sql):
    """The only value that a statement gives."""
    with closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute(sql)
        return cursor.fetchone()[0]


def test_a_server_that_a_test_starts_does_not_take_our_variables_for_its_options():
    assert not [name for name in (GIVEN, SCRATCH) if name.startswith("DHTWISTED_")]


def test_the_same_directory_has_the_same_database(tmp_path):
    assert query(database_for(tmp_path), INSERT) == 1
    assert query(database_for(str(tmp_path / ".." / tmp_path.name)), INSERT) == 2
    assert query(database_for(tmp_path / "other"), INSERT) == 1


def test_a_process_that_a_test_starts_has_the_same_too(tmp_path):
    assert query(database_for(tmp_path), INSERT) == 1
    code = f"from tests.test_support.test_postgres_shared import *; print(query(database_for({str(tmp_path)!r}), INSERT))"
    assert run_python(code) == "2\n"
    assert query(database_for(tmp_path), INSERT) == 3


def test_a_server_that_was_given_is_used_and_nothing_is_left_on_it(own_postgres, tmp_path):
    names = "SELECT datname FROM pg_database ORDER BY 1"
    before = own_postgres.execute(names)
    code = f"""
from tests.test_support.test_postgres_shared import *
from tests.support.postgres.shared import shared_server
dsn = database_for({str(tmp_path)!r})
print(query(dsn, INSERT), shared_server().execute("SELECT count(*) FROM pg_database")[0][0], dsn)
"""
    count, databases, dsn = run_python(code, **{GIVEN: own_postgres.dsn(options="-c work_mem=7MB"), SCRATCH: None}).split(" ", 2)
    assert (int(count), int(databases)) == (1, len(before) + 1)
    assert parse_dsn(dsn)["port"] == str(own_postgres.port)
    assert "-c work_mem=7MB -c search_path=" in parse_dsn(dsn)["options"]
    assert own_postgres.execute(names) == before


def test_the_fixtures(postgres, database):
    name = parse_dsn(database)["dbname"]
    assert query(database, "SELECT current_database()") == name
    assert postgres.execute("SELECT count(*) FROM pg_class WHERE relname = 'entry'", database=name) == [(0,)]

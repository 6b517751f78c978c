"""What the errors of a real database become."""

import psycopg2
import pytest

from dhtwisted.errors import StorageUnavailable, Unstorable
from dhtwisted.providers.postgres.errors import ends_connection, in_one_line, is_refusal, taken_value, translated, unique_field


@pytest.fixture
def cursor(database):
    """A cursor on a table with a unique column."""
    connection = psycopg2.connect(database)
    connection.autocommit = True
    cursor = connection.cursor()
    cursor.execute("CREATE TABLE things (id bigint PRIMARY KEY, first_name text UNIQUE, small smallint CHECK (small < 10))")
    cursor.execute("INSERT INTO things VALUES (1, 'a (b)=(c)')")
    yield cursor
    connection.close()


def error_of(cursor, sql, *values):
    with pytest.raises(Exception) as caught:
        cursor.execute(sql, values or None)
    return caught.value


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("INSERT INTO things VALUES (2, 'b', 100000)", Unstorable),
        ("INSERT INTO things VALUES (2, 'b', 11)", Unstorable),
        ("INSERT INTO things VALUES (NULL, 'b')", Unstorable),
        ("SELECT '{'::json", Unstorable),
        ("INSERT INTO things VALUES (2, (SELECT string_agg(md5(n::text), '') FROM generate_series(1, 9999) AS n))", Unstorable),
        ("BEGIN READ ONLY; INSERT INTO things VALUES (3, 'c')", StorageUnavailable),
        ("SET statement_timeout = 10; SELECT pg_sleep(60)", StorageUnavailable),
        ("SELECT * FROM nowhere", psycopg2.errors.UndefinedTable),
        ("SELEKT 1", psycopg2.errors.SyntaxError),
    ],
)
def test_errors_are_told_apart(cursor, sql, kind):
    assert type(translated(error_of(cursor, sql))) is kind


def test_a_unique_violation_says_what_is_taken(cursor):
    error = error_of(cursor, "INSERT INTO things VALUES (1, 'b')")
    assert (translated(error), unique_field(error), taken_value(error)) == (error, None, "1")
    error = error_of(cursor, "INSERT INTO things VALUES (2, 'a (b)=(c)')")
    assert unique_field(error) == "first_name"


def test_a_server_that_takes_no_writes_is_left(cursor):
    assert ends_connection(error_of(cursor, "BEGIN READ ONLY; INSERT INTO things VALUES (3, 'c')"))
    assert not ends_connection(error_of(cursor, "ROLLBACK; SELECT '{'::json"))


def test_refusals_are_told_from_a_server_that_is_not_there(postgres, own_postgres):
    for dsn in (postgres.dsn("nowhere"), postgres.dsn(user="nobody_known")):
        with pytest.raises(psycopg2.OperationalError) as caught:
            psycopg2.connect(dsn)
        assert is_refusal(caught.value)
    dsn = own_postgres.dsn()
    own_postgres.stop()
    with pytest.raises(psycopg2.OperationalError) as caught:
        psycopg2.connect(dsn)
    assert not is_refusal(caught.value)


def test_errors_are_one_line(cursor):
    assert "\n" not in in_one_line(error_of(cursor, "SELECT *\nFROM nowhere"))
    assert in_one_line(ValueError()) == "ValueError"

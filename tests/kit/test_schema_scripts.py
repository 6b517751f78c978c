"""The scripts of the schemas: none is edited once it has made somebody's data, and data of other scripts are refused in a line."""

import sqlite3
from contextlib import closing

import pytest

from dhtwisted.errors import ConfigurationError
from dhtwisted.kit.schema_scripts import check_structure, checksums, schema_directory, script_count
from dhtwisted.providers.sqlite.database import connect_writer, migrate, statements

RELEASED = {
    "dhtwisted.providers.sqlite": [
        "b05e608dd3e6740b",
        "67749d0e3b04e6e4",
        "7f5acb9876682d30",
        "f7a00416edebf2f8",
        "8ec8a5e2fd9e9a71",
        "7638f8aecac5e8d6",
        "a7b003f9efd4ae8a",
        "36f4e7852737bf05",
        "d7f6eae5ecf97251",
        "fec317fd13ae5f30",
    ],
    "dhtwisted.providers.postgres": [
        "4a9a7abafc35033f",
        "b80f1966317c55f1",
        "92ebd3d97bf47c04",
        "a74c93bb75c84ae5",
        "0c1997b59fe819f3",
        "56c3059519b050a6",
        "e308a3f2f3f51f7b",
        "b603b2c9f65535aa",
        "2b697b77ec7b7793",
        "f521323b5d7c863b",
    ],
}
"""The beginnings of their checksums."""


@pytest.mark.parametrize("package", RELEASED)
def test_a_script_is_never_edited(package):
    """A change of the schema is a script of its own; one that some data were made by already stays as it is, with its comments."""
    assert [checksum[:16] for checksum in checksums(schema_directory(package)).values()] == RELEASED[package]


@pytest.fixture
def scripts(tmp_path):
    """A function that makes the scripts of a schema, the first of which is given."""

    def make(name, first):
        directory = tmp_path / name
        directory.mkdir()
        (directory / "0001.sql").write_text(first)
        (directory / "0002.sql").write_text("ALTER TABLE schema ADD COLUMN checksum TEXT;\n")
        return directory

    return make


@pytest.fixture
def connection():
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        yield connection


TABLE = "CREATE TABLE a (\n    x TEXT NOT NULL,   -- what; it is\n    y BLOB,\n    PRIMARY KEY (x)\n) WITHOUT ROWID;\n"


def test_data_of_an_edited_script_are_refused(connection, scripts):
    migrate(connection, "data", scripts("old", TABLE))
    migrate(connection, "data", scripts("same", TABLE))
    with pytest.raises(ConfigurationError, match=r"storage file data was made by another script 0001\.sql .* devicehive export") as caught:
        migrate(connection, "data", scripts("new", f"{TABLE}CREATE TABLE b (x TEXT);\n"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("first", "missing"),
    [
        (f"{TABLE}CREATE TABLE b (\n    z TEXT\n);\n", "the table b"),
        (f"{TABLE}ALTER TABLE a\n    ADD COLUMN v TEXT;", "the column v of the table a"),
    ],
)
def test_data_of_before_there_were_checksums_are_looked_at_once(connection, scripts, first, missing):
    connection.execute("CREATE TABLE schema (version INTEGER NOT NULL)")
    connection.execute("INSERT INTO schema VALUES (1)")
    for statement in statements(TABLE):
        connection.execute(statement)
    with pytest.raises(ConfigurationError, match=rf"storage file data lacks {missing}, which script 0001\.sql"):
        migrate(connection, "data", scripts("new", first))
    assert connection.execute("SELECT * FROM schema").fetchall() == [(1,)], "nothing was changed"
    directory = scripts("old", TABLE)
    migrate(connection, "data", directory)
    assert dict(connection.execute("SELECT version, checksum FROM schema")) == checksums(directory)


def test_what_the_scripts_make_is_there(tmp_path):
    """Each table at least; else the look at older data would find nothing missing."""
    with closing(connect_writer(str(tmp_path / "data"))) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        found = {name: {row[1] for row in connection.execute(f"PRAGMA table_info({name})")} for name in tables}
    directory = schema_directory("dhtwisted.providers.sqlite")
    check_structure(directory, script_count(directory), found, "data")
    for table in set(found) - {"schema"}:
        with pytest.raises(ConfigurationError, match=f"data lacks the table {table},"):
            check_structure(directory, script_count(directory), {name: found[name] for name in set(found) - {table}}, "data")

"""What the process that writes does with steps; without the process."""

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from dhtwisted.providers.sqlite.mark import BATCH, write_whole_mark
from dhtwisted.providers.sqlite.program import MOST_ROWS, Database
from dhtwisted.providers.sqlite.steps import DONE, REFUSED, TAKEN, UNAVAILABLE, insert, require_free, run, run_many

PAGE = 4096
INTO = "INTO item (id, name, body, checksum)"
TABLES = """
CREATE TABLE item (id INTEGER PRIMARY KEY NOT NULL, name TEXT, body BLOB, checksum INTEGER NOT NULL);
CREATE TABLE counter (name TEXT PRIMARY KEY NOT NULL, value INTEGER NOT NULL);
"""


@pytest.fixture
def path(tmp_path):
    path = str(tmp_path / "data.sqlite")
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(TABLES)
    write_whole_mark(path, {BATCH: 0})
    return path


@pytest.fixture
def database(path):
    database = Database(path)
    yield database
    database.close()


def content(path):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT id, name, body FROM item ORDER BY id").fetchall()


def inserted(rows):
    return insert(INTO, 3, [value for row in rows for value in row])


@pytest.mark.parametrize("count", [1, 2, 3, MOST_ROWS - 1, MOST_ROWS, MOST_ROWS + 1, 5 * MOST_ROWS + 77])
def test_inserts_any_number_of_rows(database, path, count):
    rows = [(number, f"name {number}", b"[%d]" % number) for number in range(count)]
    assert database.answer([inserted(rows)]) == (DONE, [])
    assert content(path) == rows


def test_bytes_and_nulls_stay_what_they_are(database, path):
    rows = [(1, None, b"\0\xff"), (2, "", None), (3, "a\0b", b"")]
    assert database.answer([inserted(rows[:1]), inserted(rows[1:2]), inserted(rows[2:])]) == (DONE, [])
    assert content(path) == rows
    assert database.answer([run("DELETE FROM item", ()), inserted(rows)]) == (DONE, [(3, [])])
    assert content(path) == rows


def test_what_statements_find(database):
    steps = [
        run_many(f"INSERT {INTO} VALUES (?, ?, ?, 0)", [(1, "a", None), (2, "b", None), (3, "c", None)]),
        run("UPDATE item SET name = 'd' WHERE id = ? RETURNING id, name", (2,)),
        run("DELETE FROM item WHERE id > ?", (1,)),
        run("UPDATE item SET name = 'e' WHERE id = ? RETURNING id", (9,)),
    ]
    sort, found = database.answer(steps)
    assert sort == DONE
    assert [rows for _, rows in found] == [[(2, "d")], [], []]
    assert found[1][0] == 2


@pytest.mark.parametrize("bad", ["\ud800", 2**63, -(2**63) - 1])
def test_a_value_that_does_not_fit_refuses_all(database, path, bad):
    sort, reason = database.answer([inserted([(1, "a", None)]), inserted([(2, bad, None)])])
    assert sort == REFUSED
    assert reason.startswith("a value cannot be kept")
    assert content(path) == []
    assert database.answer([inserted([(1, "a", None)])]) == (DONE, [])


def test_a_taken_id_refuses_all(database, path):
    database.answer([inserted([(7, "a", None)])])
    steps = [inserted([(1, "b", None)]), require_free("item", "SELECT id FROM item WHERE id IN (?, ?)", [6, 7])]
    assert database.answer(steps) == (TAKEN, "item", 7)
    assert content(path) == [(7, "a", None)]


def test_a_row_that_is_there_already_refuses_all(database, path):
    database.answer([inserted([(7, "a", None)])])
    for taken in (0, MOST_ROWS + 5):
        rows = [(7 if number == taken else 1000 + number, "b", None) for number in range(MOST_ROWS + 10)]
        assert database.answer([inserted([(1, "b", None)]), inserted(rows)])[0] == REFUSED
        assert content(path) == [(7, "a", None)]
    assert database.answer([inserted([(1, "b", None)])]) == (DONE, [])


def test_rows_on_many_pages_are_written_once(database, path):
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE INDEX by_name ON item (name)")
    names = [f"{number:04}" * 20 for number in range(5000)]
    assert database.answer([inserted([(number, name, None) for number, name in enumerate(names)])]) == (DONE, [])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    before = bytes_written()
    assert database.answer([inserted([(10_000 + number, name, None) for number, name in enumerate(names[::50])])]) == (DONE, [])
    log = Path(path + "-wal").stat().st_size
    assert log > 64 * PAGE, "they are on many pages"
    assert bytes_written() - before < log + 2 * PAGE


def bytes_written():
    """What this process has written so far, to files of any kind."""
    return int(re.search("wchar: (\\d+)", Path("/proc/self/io").read_text())[1])


def test_a_file_that_cannot_be_opened_is_tried_again(tmp_path):
    path = tmp_path / "missing" / "data.sqlite"
    database = Database(str(path))
    sort, reason = database.answer([])
    assert sort == UNAVAILABLE
    assert "unable to open" in reason
    path.parent.mkdir()
    assert database.answer([])[0] == UNAVAILABLE, "one that is not there is not made, empty"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(TABLES)
    assert database.answer([]) == (UNAVAILABLE, f"{path}.mark cannot be opened: No such file or directory")
    write_whole_mark(str(path), {BATCH: 0})
    assert database.answer([]) == (DONE, [])
    database.close()

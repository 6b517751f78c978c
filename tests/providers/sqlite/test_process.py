"""The process that writes, as the server sees it."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing

import psutil
import pytest
import pytest_twisted

from dhtwisted.errors import WriterLost
from dhtwisted.providers.sqlite import process as writer_process
from dhtwisted.providers.sqlite.database import FileLock
from dhtwisted.providers.sqlite.mark import BATCH, write_whole_mark
from dhtwisted.providers.sqlite.process import FOR_THE_SERVER, WriterProcess
from dhtwisted.providers.sqlite.steps import frame, run
from tests.support.writers import has_ended, writer_of


@pytest.fixture
def path(tmp_path):
    path = str(tmp_path / "data.sqlite")
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE item (body BLOB)")
        connection.execute("CREATE TABLE counter (name TEXT, value INTEGER)")
    write_whole_mark(path, {BATCH: 0})
    return path


@pytest.fixture
def lock(path):
    lock = FileLock(path)
    yield lock
    lock.release()


@pytest.fixture
def process(reactor, path, lock):
    process = WriterProcess(reactor, path, lock.descriptor)
    yield process
    pytest_twisted.blockon(process.stop())


@pytest_twisted.ensureDeferred
async def test_steps_of_many_megabytes(process):
    body = os.urandom(1 << 20)
    steps = [run("INSERT INTO item VALUES (?)", (body,)) for _ in range(8)]
    steps.append(run("SELECT body FROM item", ()))
    sort, found = await process.send(frame(steps))
    assert sort == "done"
    assert found[-1][1] == [(body,)] * 8


@pytest_twisted.ensureDeferred
async def test_has_nothing_open_but_what_it_needs(process, path):
    await process.send(frame([]))
    writer = writer_of(path)
    names = {os.readlink(f"/proc/{writer.pid}/fd/{number}") for number in os.listdir(f"/proc/{writer.pid}/fd")}
    assert {name for name in names if path in name} >= {path, f"{path}.lock"}
    assert len([name for name in names if name.startswith("socket:")]) == 1
    assert writer.memory_info().rss < 40_000_000


@pytest_twisted.ensureDeferred
async def test_signals_for_the_server_do_not_end_it(process, path):
    writer = writer_of(path)
    for number in FOR_THE_SERVER:
        writer.send_signal(number)
    assert await process.send(frame([])) == ("done", [])


@pytest_twisted.ensureDeferred
async def test_when_it_is_killed_the_answer_fails(process, path):
    await process.send(frame([]))
    writer = writer_of(path)
    writer.suspend()
    answer = process.send(frame([]))
    writer.kill()
    with pytest.raises(WriterLost, match="been ended by signal 9"):
        await answer
    assert not psutil.pid_exists(writer.pid), "and no zombie is left"
    with pytest.raises(WriterLost):
        await process.send(frame([]))


@pytest_twisted.ensureDeferred
async def test_holds_the_lock_as_long_as_it_lives(process, path, lock):
    await process.send(frame([]))
    assert f"{path}.lock" in [file.path for file in writer_of(path).open_files()]


@pytest_twisted.ensureDeferred
async def test_ends_when_it_is_told(reactor, path, lock):
    process = WriterProcess(reactor, path, lock.descriptor)
    writer = writer_of(path)
    await process.stop()
    assert has_ended(writer)
    assert process.end == "ended with status 0"


def test_a_program_that_is_missing(reactor, path, lock, tmp_path, monkeypatch):
    monkeypatch.setattr(writer_process, "COMMAND", (str(tmp_path / "missing"),))
    with pytest.raises(WriterLost, match="cannot be started: .*No such file"):
        WriterProcess(reactor, path, lock.descriptor)


@pytest_twisted.ensureDeferred
async def test_modules_of_the_current_directory_are_not_taken(reactor, path, lock, tmp_path, monkeypatch):
    (tmp_path / "sqlite3.py").write_text("raise SystemExit('taken from the current directory')")
    monkeypatch.chdir(tmp_path)
    process = WriterProcess(reactor, path, lock.descriptor)
    assert await process.send(frame([])) == ("done", [])
    await process.stop()


def test_imports_nothing_that_is_large():
    """It has to start quickly, and its memory is its own."""
    *options, program = writer_process.COMMAND[1:]
    shown = program.replace("main()", "print(*sys.modules)")
    modules = subprocess.run([sys.executable, *options, shown], capture_output=True, text=True, check=True).stdout.split()
    assert not {"twisted", "msgspec", "zope", "typing", "asyncio", "importlib.resources", "socket"} & set(modules)

"""``devicehive export`` and ``devicehive import`` as processes: files and streams, one line at the end, and no half of anything."""

import os
import pty
import signal
import sqlite3
import subprocess
import time

import pytest
import pytest_twisted

from dhtwisted.providers.sqlite.storage import FileStorage
from dhtwisted.testing.storage.base import notification
from tests.support.command import COMMAND, SECONDS, environment, run
from tests.support.moving import contents, fill

TOLD = (
    "2 networks, 1 devicetype, 2 devices, 1 configuration, 1 devicetoken, 1 mqttsession, 1 retainedmessage, 2 queuedmessages, "
    "1 receivedpacket, 2 commands, 3 notifications, 2 users"
)
MANY = 1500


@pytest.fixture
def make_storage(tmp_path, reactor):
    """Makes ``one.sqlite``, with what ``moving`` has and as many notifications more as are wanted."""

    def make(many=0):
        pytest_twisted.blockon(_filled(FileStorage(str(tmp_path / "one.sqlite"), reactor), many))

    return make


@pytest_twisted.inlineCallbacks
def _filled(storage, many):
    yield storage.open()
    yield pytest_twisted.ensureDeferred(fill)(storage)
    if many:
        yield storage.append([notification(str(n)) for n in range(many)])
    yield storage.close()


@pytest.fixture
def source(make_storage):
    """``one.sqlite``, filled."""
    make_storage()


@pytest_twisted.inlineCallbacks
def contents_of(path, reactor):
    """All that a file holds, and that it is closed again."""
    storage = FileStorage(str(path), reactor)
    yield storage.open()
    found = yield pytest_twisted.ensureDeferred(contents)(storage)
    yield storage.close()
    return found


def devicehive(directory, name, *arguments, **options):
    """Run the command on ``<name>.sqlite``; its output as bytes."""
    return subprocess.run(
        [*COMMAND, "--storage", f"file:{name}.sqlite", *arguments],
        cwd=directory,
        env=environment(),
        timeout=SECONDS,
        check=False,
        **{"capture_output": True} | options,
    )


def refusal(done):
    """The one line of a command that failed."""
    assert (done.returncode, done.stdout or b"") == (1, b"")
    (line,) = done.stderr.decode().splitlines()
    assert line.startswith("devicehive ")
    return line


@pytest.mark.parametrize("file", [pytest.param("a.jsonl", marks=[pytest.mark.slow, pytest.mark.lowest]), "a.jsonl.gz"])
@pytest_twisted.inlineCallbacks
def test_through_a_file(source, tmp_path, reactor, file):
    done = devicehive(tmp_path, "one", "export", file)
    assert (done.returncode, done.stdout, done.stderr.decode()) == (0, b"", f"Exported to {file}: {TOLD}.\n")
    done = devicehive(tmp_path, "two", "import", file)
    assert (done.returncode, done.stdout, done.stderr.decode()) == (0, b"", f"Imported from {file}: {TOLD}.\n")
    one, two = (yield contents_of(tmp_path / "one.sqlite", reactor)), (yield contents_of(tmp_path / "two.sqlite", reactor))
    assert one == two
    assert {path.name for path in tmp_path.iterdir()} == {
        file,
        *(f"{n}.sqlite{suffix}" for n in ("one", "two") for suffix in ("", ".lock", ".mark")),
    }


@pytest.mark.slow
@pytest.mark.lowest
@pytest_twisted.inlineCallbacks
def test_through_the_standard_streams(source, tmp_path, reactor):
    exported = devicehive(tmp_path, "one", "export", "-")
    assert (exported.returncode, exported.stderr.decode()) == (0, f"Exported to -: {TOLD}.\n")
    assert exported.stdout.startswith(b'{"format":"dhtwisted export","version":5,')
    done = devicehive(tmp_path, "two", "import", "-", input=exported.stdout)
    assert (done.returncode, done.stderr.decode()) == (0, f"Imported from -: {TOLD}.\n")
    one, two = (yield contents_of(tmp_path / "one.sqlite", reactor)), (yield contents_of(tmp_path / "two.sqlite", reactor))
    assert one == two


@pytest.mark.slow
@pytest.mark.lowest
def test_an_export_that_cannot_be_made_leaves_everything_as_it_was(source, tmp_path):
    (tmp_path / "a.jsonl").write_text("old")
    assert "a.jsonl is there already: name another file, or replace it with --force" in refusal(
        devicehive(tmp_path, "one", "export", "a.jsonl")
    )
    (tmp_path / "empty.sqlite").touch()
    assert "has no users" in refusal(devicehive(tmp_path, "empty", "export", "--force", "a.jsonl"))
    for name in ("typo", "missing/one"):
        assert "there is no data file" in refusal(devicehive(tmp_path, name, "export", "--force", "a.jsonl"))
    assert not list(tmp_path.glob("typo*"))
    assert (tmp_path / "a.jsonl").read_text() == "old"
    assert devicehive(tmp_path, "one", "export", "--force", "a.jsonl").returncode == 0
    assert (tmp_path / "a.jsonl").read_text().startswith("{")
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.slow
@pytest.mark.lowest
def test_nobody_reads_the_output(source, tmp_path):
    reading, writing = os.pipe()
    os.close(reading)
    done = devicehive(tmp_path, "one", "export", "-", capture_output=False, stdout=writing, stderr=subprocess.PIPE)
    os.close(writing)
    assert refusal(done) == "devicehive export: standard output cannot be written: Broken pipe"


@pytest.mark.slow
@pytest.mark.lowest
def test_an_import_that_cannot_be_done_says_why(source, tmp_path):
    devicehive(tmp_path, "one", "export", "a.jsonl")
    assert "the storage has a user already" in refusal(devicehive(tmp_path, "one", "import", "a.jsonl"))
    assert "b.jsonl cannot be read: No such file" in refusal(devicehive(tmp_path, "two", "import", "b.jsonl"))
    assert "line 1 is not the header of an export" in refusal(devicehive(tmp_path, "two", "import", "one.sqlite"))
    assert not (tmp_path / "two.sqlite").exists(), "a storage is not touched before there is something to import"
    done = run(tmp_path, "--storage", "file:two.sqlite", "--messages", "memory:", "import", "a.jsonl")
    assert "would lose all data" in done.stderr
    (tmp_path / "bad.jsonl").write_bytes((tmp_path / "a.jsonl").read_bytes().replace(b'"red"', b"7"))
    line = refusal(devicehive(tmp_path, "three", "import", "bad.jsonl"))
    assert "line 7 is not valid: Expected `str`, got `int` - at `$.configuration.value`" in line
    assert not (tmp_path / "three.sqlite").exists(), "all of a file is looked at before any of it is stored"
    piped = devicehive(tmp_path, "two", "import", "-", input=(tmp_path / "bad.jsonl").read_bytes())
    assert refusal(piped).endswith("if it is damaged, delete the storage and import a good export")
    done = run(tmp_path, "--storage", "file:two.sqlite")
    assert done.returncode == 1
    assert "Cannot start: the storage has only a part of the export" in done.stdout
    done = devicehive(tmp_path, "two", "import", "a.jsonl")
    assert done.stderr.decode() == f"Imported from a.jsonl: {TOLD}; 3 of them were there already.\n"


@pytest.mark.slow
@pytest.mark.lowest
def test_what_an_error_quotes_is_bounded_and_escaped(tmp_path):
    header = b'{"format":"dhtwisted export","version":1,"program":"1","time":"2026-01-02T03:04:05.678"}\n'
    line = refusal(devicehive(tmp_path, "two", "import", "-", input=header + b'{"\x1b[2J%s":1}\n' % (b"x" * 2000)))
    assert "JSON is malformed" in line
    line = refusal(devicehive(tmp_path, "two", "import", "-", input=header + b'{"\\u001b[2J%s":1}\n' % (b"x" * 2000)))
    assert "\\x1b[2Jxxx" in line
    assert len(line) < 700


class Importing:
    """An import from standard input that goes on as far as the test lets it.

    :param lines: of the export.
    """

    def __init__(self, directory, lines):
        arguments = [*COMMAND, "--storage", "file:two.sqlite", "import", "-"]
        self._path = directory / "two.sqlite"
        self.lines = lines
        self.process = subprocess.Popen(
            arguments, cwd=directory, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

    def send(self, start, end):
        self.process.stdin.write(b"".join(self.lines[start:end]))
        self.process.stdin.flush()

    def wait_until_stored(self, count):
        """Until so many notifications are committed."""
        end = time.monotonic() + SECONDS
        while self._stored() < count:
            assert time.monotonic() < end
            assert self.process.poll() is None, self.process.stderr.read()
            time.sleep(0.02)

    def _stored(self):
        if not self._path.exists():
            return 0
        connection = sqlite3.connect(f"file:{self._path}?mode=ro", uri=True)
        try:
            return connection.execute("SELECT count(*) FROM notification").fetchone()[0]
        except sqlite3.OperationalError:
            return 0  # The schema is being made.
        finally:
            connection.close()

    def end(self):
        """What it says at its end."""
        return self.process.communicate(timeout=SECONDS)[1].decode()


@pytest.fixture
def importing(make_storage, tmp_path):
    """An import that has stored a part and waits for more."""
    make_storage(MANY)
    devicehive(tmp_path, "one", "export", "a.jsonl")
    importing = Importing(tmp_path, (tmp_path / "a.jsonl").read_bytes().splitlines(keepends=True))
    importing.send(0, 800)
    importing.wait_until_stored(500)
    yield importing
    importing.process.kill()
    importing.end()


@pytest.mark.slow
@pytest.mark.lowest
@pytest_twisted.inlineCallbacks
def test_killed_in_the_middle_it_goes_on_when_done_again(importing, tmp_path, reactor):
    importing.process.kill()
    importing.process.wait()
    done = devicehive(tmp_path, "two", "import", "a.jsonl")
    assert done.returncode == 0, done.stderr
    assert b"; 514 of them were there already" in done.stderr
    one, two = (yield contents_of(tmp_path / "one.sqlite", reactor)), (yield contents_of(tmp_path / "two.sqlite", reactor))
    assert one == two


@pytest.mark.slow
@pytest.mark.lowest
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_after_the_present_portion(importing, number):
    importing.process.send_signal(number)
    importing.send(800, 1400)
    line = importing.end()
    assert importing.process.returncode == 1
    assert line.startswith("devicehive import: ended by a signal; the storage now has a part of the data: ")
    assert len(line.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.lowest
def test_a_second_signal_ends_it_at_once(importing):
    importing.process.send_signal(signal.SIGINT)
    end = time.monotonic() + SECONDS
    while importing.process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)  # Two that come at the same moment are one.
        importing.process.send_signal(signal.SIGINT)
    assert importing.process.returncode == -signal.SIGINT


@pytest.mark.slow
@pytest.mark.lowest
def test_a_second_import_of_the_same_data_has_to_wait(importing, tmp_path):
    assert f"in use by process {importing.process.pid}" in refusal(devicehive(tmp_path, "two", "import", "a.jsonl"))


@pytest.mark.slow
@pytest.mark.lowest
def test_a_terminal_shows_how_far_it_is(source, tmp_path):
    ours, theirs = pty.openpty()
    done = devicehive(tmp_path, "one", "export", "a.jsonl", capture_output=False, stderr=theirs)
    os.close(theirs)
    assert done.returncode == 0
    assert os.read(ours, 1000).decode() == f"\r2 objects\rExported to a.jsonl: {TOLD}.\r\n"
    os.close(ours)

"""Where lines go: a stream, a file that rotates, a file that others rotate."""

import io
import os
import shutil
import subprocess
import sys

import pytest

from dhtwisted.errors import ConfigurationError
from dhtwisted.logs.append_file import AppendFile
from dhtwisted.logs.destinations import RotatingFile, Stream, Syslog, is_kept, open_destination, takes_priority


def test_a_stream_gets_bytes_whatever_its_encoding_is():
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    stream.write("before ")
    destination = Stream(stream)
    destination.write("Grüße".encode())
    destination.reopen()
    assert stream.buffer.getvalue() == "before Grüße\n".encode()


def test_a_file_that_rotates(tmp_path):
    path = tmp_path / "hive.log"
    file = RotatingFile(str(path))
    file.write(b"one")
    file.rotate()
    file.write(b"two")
    assert (tmp_path / "hive.log.1").read_text() == "one\n"
    assert path.read_text() == "two\n"
    path.rename(tmp_path / "moved")
    file.reopen()
    file.write(b"three")
    assert path.read_text() == "three\n"


@pytest.mark.parametrize("deed", [lambda path: path.unlink(), lambda path: path.rename(path.with_name("moved"))], ids=["deleted", "moved"])
def test_a_file_of_twistd_that_was_taken_away_is_followed_by_another(tmp_path, deed):
    path = tmp_path / "hive.log"
    file = RotatingFile(str(path))
    file.write(b"one")
    deed(path)
    file.write(b"two")
    assert path.read_text() == "two\n"
    deed(path)
    file.follow()
    assert path.read_text() == ""
    file.rotate()
    file.write(b"three")
    assert path.read_text() == "three\n"


@pytest.mark.parametrize("kind", [RotatingFile, lambda path: AppendFile(path, 0o600)], ids=["twistd", "log.file"])
def test_a_file_whose_directory_is_gone_goes_on_when_it_is_back(tmp_path, kind):
    directory = tmp_path / "logs"
    directory.mkdir()
    file = kind(str(directory / "hive.log"))
    file.write(b"one")
    shutil.rmtree(directory)
    for _ in range(2):
        with pytest.raises(OSError, match="No such file"):
            file.write(b"two")
        with pytest.raises(OSError, match="No such file"):
            file.follow()
    directory.mkdir()
    file.write(b"three")
    assert (directory / "hive.log").read_text() == "three\n"


@pytest.mark.parametrize(
    ("options", "configured", "kind"),
    [
        (None, "", Stream),
        ({"nodaemon": 1}, "", Stream),
        ({"nodaemon": 1, "logfile": "-"}, "a.log", Stream),
        ({"nodaemon": 1, "syslog": 1, "prefix": "hive"}, "a.log", Syslog),
        ({"nodaemon": 1}, "a.log", AppendFile),
        ({"nodaemon": 0}, "a.log", AppendFile),
        ({"nodaemon": 0}, "", RotatingFile),
        ({"nodaemon": 0, "logfile": "b.log"}, "a.log", RotatingFile),
    ],
)
def test_the_command_line_wins_over_the_configuration(tmp_path, monkeypatch, options, configured, kind):
    monkeypatch.chdir(tmp_path)
    assert type(open_destination(options, configured)) is kind


def test_what_cannot_be_opened_is_said_by_the_name_of_its_option(tmp_path):
    with pytest.raises(ConfigurationError, match="^log.file: "):
        open_destination(None, str(tmp_path / "nowhere" / "a.log"))


def test_the_journal_is_known_by_device_and_inode(tmp_path, monkeypatch):
    with (tmp_path / "journal").open("w") as stream:
        monkeypatch.delenv("JOURNAL_STREAM", raising=False)
        assert not is_kept(stream)
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        assert is_kept(stream)
        monkeypatch.setattr(sys, "__stdout__", stream)
        assert takes_priority(Stream(stream))
        assert not takes_priority(AppendFile(tmp_path / "a.log", 0o600))
    assert not is_kept(None)


SYSLOG = """
from dhtwisted.logs.destinations import Syslog
for line in ("Grüße", "<4>Grüße", "<9>"):
    Syslog("hive").write(line.encode())
"""


def test_syslog_takes_a_line_also_where_nobody_listens():
    done = subprocess.run([sys.executable, "-c", SYSLOG], capture_output=True, text=True, timeout=60, check=True)
    assert (done.stdout, done.stderr) == ("", "")

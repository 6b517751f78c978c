"""Lines at the end of a file, also when it is moved, and when there is no room."""

import json
import os
import stat
import subprocess
import sys

import pytest

from dhtwisted.logs.append_file import AppendFile


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a.log"


def test_lines_are_appended_and_the_mode_is_that_which_was_asked_for(path):
    path.write_text("before\n")
    path.chmod(0o600)
    file = AppendFile(path, 0o600)
    file.write(b"one")
    file.write(b"two")
    file.close()
    assert path.read_text() == "before\none\ntwo\n"
    other = AppendFile(path.with_name("b.log"), 0o600)
    assert stat.S_IMODE(os.stat(other.path).st_mode) == 0o600
    other.close()


def test_a_file_that_was_moved_is_followed_by_another(path):
    file = AppendFile(path, 0o600)
    file.write(b"one")
    path.rename(path.with_suffix(".1"))
    file.write(b"two")
    path.unlink()
    file.write(b"three")
    file.close()
    assert path.with_suffix(".1").read_text() == "one\n"
    assert path.read_text() == "three\n"


def test_opened_again(path):
    file = AppendFile(path, 0o600)
    file.reopen()
    file.write(b"one")
    file.close()
    assert path.read_text() == "one\n"


def test_two_that_write_to_one_file_do_not_mix_their_lines(path):
    code = "import sys; from dhtwisted.logs.append_file import AppendFile; f = AppendFile(sys.argv[1], 0o600); "
    code += "[f.write(sys.argv[2].encode() * 5000) for _ in range(300)]"
    processes = [subprocess.Popen([sys.executable, "-c", code, str(path), letter]) for letter in "ab"]
    assert [process.wait(timeout=60) for process in processes] == [0, 0]
    lines = path.read_text().splitlines()
    assert sorted(lines) == ["a" * 5000] * 300 + ["b" * 5000] * 300


FULL = """
import json, resource, signal, sys
from dhtwisted.logs.append_file import AppendFile
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
file = AppendFile(sys.argv[1], 0o600)
outcomes = []
def write(line):
    try:
        file.write(line)
    except OSError as error:
        outcomes.append(str(error))
_, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
write(b"x" * 40)
resource.setrlimit(resource.RLIMIT_FSIZE, (50, hard))
write(b"y" * 40)
write(b"z" * 40)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
write(b"after")
print(json.dumps(outcomes))
"""


def test_what_finds_no_room_is_told_and_does_not_spoil_the_next_line(path):
    """A limit of the file's size stands for a full disk: the first write that meets it is cut, the next one fails."""
    done = subprocess.run([sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, timeout=60, check=True)
    partly, not_at_all = json.loads(done.stdout)
    assert partly == "only 9 of 41 bytes could be written"
    assert "File too large" in not_at_all
    assert path.read_text() == "x" * 40 + "\n" + "y" * 9 + "\nafter\n"

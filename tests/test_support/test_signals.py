"""Tests can be run in the background, without a terminal and without an input: what they start is as if somebody had typed it."""

import os
import signal
import subprocess

import pytest

from tests.support.nested import PYTEST, plain_environment
from tests.support.packages import ROOT

SECONDS = 120
IGNORED = (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGPIPE, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
NESTED = """
import os
import pty
import signal
import subprocess
import sys

SHOW = "import signal as s; print(*(n for n in s.valid_signals() if s.getsignal(n) == s.SIG_IGN), s.pthread_sigmask(s.SIG_BLOCK, ()))"
PROGRAM = [sys.executable, "-c", SHOW]
EXPECTED = f"{signal.SIGPIPE:d} {signal.SIGXFSZ:d} set()"

def test_a_process():
    assert subprocess.check_output(PROGRAM, text=True).strip() == EXPECTED

def test_a_process_on_a_terminal():
    process, terminal = pty.fork()
    if not process:
        os.execv(PROGRAM[0], PROGRAM)
    with os.fdopen(terminal) as shown:
        assert shown.readline().strip() == EXPECTED
        assert os.waitpid(process, 0)[1] == 0

def test_we_go_on_to_ignore_what_we_were_told_to():
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.raise_signal(number)
"""


def run_in_the_background(*arguments, directory):
    """Run pytest as ``nohup setsid pytest <&- &`` in a script does."""

    def prelude():
        for number in IGNORED:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR2})
        os.close(0)

    command = [*PYTEST, "-p", "no:cacheprovider", "-n", "0", *arguments]
    done = subprocess.run(
        command,
        cwd=directory,
        env=plain_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
        restore_signals=False,
        preexec_fn=prelude,
        timeout=SECONDS,
    )
    return done.returncode, done.stdout


def test_what_tests_start_has_the_default_answer_to_every_signal(tmp_path):
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["tests.support.signals"]\n')
    (tmp_path / "test_it.py").write_text(NESTED)
    status, output = run_in_the_background("test_it.py", directory=tmp_path)
    assert (status, "3 passed" in output) == (0, True), output


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["test_who_gives_no_password_changes_nothing[answers0-ended by a signal]", "test_a_database_that_is_not_there_and_a_signal"]
)
def test_what_is_ended_by_a_signal_in_the_background_too(name):
    status, output = run_in_the_background(f"tests/system/test_users_terminal.py::{name}", "--timeout", "60", directory=ROOT)
    assert (status, "1 passed" in output) == (0, True), output

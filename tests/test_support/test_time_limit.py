"""A test that hangs fails with its name and the stacks, whatever it hangs in, and the suite goes on."""

import re
import subprocess

import pytest

from tests.support.nested import PYTEST, plain_environment

pytestmark = pytest.mark.slow

SECONDS = 120
CONFTEST = 'from tests.support import time_limit\n\ntime_limit.GRACE = 3\npytest_plugins = ["tests.support.time_limit"]\n'
HANGS = """
import time
import pytest
import pytest_twisted
from hypothesis import given, strategies as st
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

torn_down = []

async def never():
    await Deferred()

@pytest.fixture
def server():
    yield
    torn_down.append(True)

@pytest.fixture
def slow():
    time.sleep(100)

@pytest_twisted.async_yield_fixture
async def ends_never():
    yield
    await never()

def test_hang_in_a_call(server): time.sleep(100)

@pytest_twisted.ensureDeferred
async def test_hang_in_a_deferred(server): await never()

@pytest_twisted.ensureDeferred
async def test_hang_after_a_turn(server):
    await deferLater(reactor, 0)
    time.sleep(100)

@given(st.integers())
def test_hang_in_an_example(number):
    if number > 100: time.sleep(100)

def test_hang_in_a_fixture(slow): pass

def test_hang_in_a_teardown(ends_never): pass

@pytest_twisted.ensureDeferred
async def test_good():
    await deferLater(reactor, 0)
    assert len(torn_down) == 3
"""
SWALLOWS = """
import time

def test_swallows():
    while True:
        try: time.sleep(100)
        except BaseException: pass

def test_good(): pass
"""


@pytest.fixture
def run(tmp_path):
    """A function that runs pytest on some tests, with a limit of a second for each; returns its exit status and what it says."""

    def run_tests(tests, *arguments):
        (tmp_path / "conftest.py").write_text(CONFTEST)
        (tmp_path / "test_it.py").write_text(tests)
        command = [*PYTEST, "-rfE", "--timeout", "1", *arguments]
        environment = plain_environment()
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=SECONDS)
        return done.returncode, done.stdout, done.stderr

    return run_tests


def listed(output):
    return re.findall(r"^(FAILED|ERROR) test_it.py::test_(\w+)", output, re.MULTILINE)


@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_hang_fails_and_the_suite_goes_on(run, workers):
    status, output, errors = run(HANGS, "--numprocesses", workers, "--dist", "loadfile")
    hangs = sorted(re.findall(r"def test_(hang\w*)", HANGS))
    assert (status, sorted(name for _, name in listed(output))) == (1, hangs)
    assert re.search(r"\d passed", output)
    assert sorted(re.findall(r"^test_it.py::test_(\w+) took longer than its 1 seconds", errors, re.MULTILINE)) == hangs
    assert re.search(r'test_it.py", line \d+, in never$', errors, re.MULTILINE), "where a coroutine waits"
    assert re.search(r'test_it.py", line \d+, in test_hang_in_a_call$', errors, re.MULTILINE), "where a thread is"


def test_what_cannot_be_interrupted_ends_the_process(run):
    status, _, errors = run(SWALLOWS)
    assert (status, "test_swallows took longer" in errors, "in test_swallows" in errors) == (1, True, True)


def test_another_worker_goes_on_after_one_that_ended(run):
    status, output, _ = run(SWALLOWS, "--numprocesses", "1")
    assert (status, listed(output), "1 passed" in output) == (1, [("FAILED", "swallows")], True)

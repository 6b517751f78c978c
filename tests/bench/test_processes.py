import os
import sys

import pytest

from bench.figures import Failed
from bench.processes import Process
from tests.support.waiting import wait_until

SLEEPS = [sys.executable, "-c", "import time; print('ready', flush=True); time.sleep(600)"]


@pytest.fixture
def start(tmp_path):
    def start_one(*command):
        return Process(command or SLEEPS, tmp_path / "log", os.sched_getaffinity(0))

    return start_one


def is_there(pid):
    return os.path.exists(f"/proc/{pid}")


def test_it_ends_with_its_block_also_when_it_is_suspended(start):
    with start() as process:
        process.wait_for(lambda: "ready" in process.log)
        assert process.running
        process.suspend()
    assert not is_there(process.pid)


def test_it_ends_with_its_block_when_that_fails(start):
    with pytest.raises(KeyboardInterrupt), start() as process:
        raise KeyboardInterrupt
    assert not is_there(process.pid)


def test_one_that_ends_instead_of_starting_is_a_failure_with_its_last_words(start):
    process = start("/bin/sh", "-c", "echo the disk is full; exit 1")
    with pytest.raises(Failed, match="does not start: the disk is full"):
        process.wait_for(lambda: False)


def test_one_that_is_waited_for_ends_with_an_interruption(start):
    def interrupt():
        raise KeyboardInterrupt

    process = start()
    with pytest.raises(KeyboardInterrupt):
        process.wait_for(interrupt)
    assert not is_there(process.pid)


def test_it_stops_in_order(start):
    process = start("/bin/sh", "-c", "trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.01; done")
    process.wait_for(lambda: "ready" in process.log)
    process.stop()
    assert process.log == "ready\nbye\n"


def test_a_bad_end_is_a_failure(start):
    process = start("/bin/sh", "-c", "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done")
    process.wait_for(lambda: "ready" in process.log)
    with pytest.raises(Failed, match="ended with status 7"):
        process.stop()


def test_it_runs_on_its_cores_and_tells_what_it_uses(tmp_path):
    core = min(os.sched_getaffinity(0))
    with Process(SLEEPS, tmp_path / "log", {core}) as process:
        process.wait_for(lambda: "ready" in process.log)
        assert os.sched_getaffinity(process.pid) == {core}
        assert process.cpu_seconds() > 0


def test_it_ends_when_its_starter_is_killed(tmp_path):
    code = (
        "import os, signal, sys; from bench.processes import Process; "
        f"process = Process({SLEEPS!r}, {str(tmp_path / 'inner')!r}, os.sched_getaffinity(0)); "
        "process.wait_for(lambda: 'ready' in process.log); print(process.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    with Process([sys.executable, "-c", code], tmp_path / "outer", os.sched_getaffinity(0)) as starter:
        inner = int(starter.wait_for(lambda: starter.log.strip()))
    wait_until(lambda: not is_running(inner), "it still runs")


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False

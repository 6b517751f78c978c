"""What a supervisor is told, and when."""

import os
import time

import pytest
from twisted.internet.task import Clock
from twisted.logger import capturedLogs

from dhtwisted.service.systemd import STARTING_INTERVAL, Supervisor
from tests.support.servers.supervisor import NotifySocket


@pytest.fixture
def told(tmp_path):
    """What is told."""
    socket = NotifySocket(tmp_path / "notify")
    yield socket
    socket.close()


def test_a_start_that_takes_long_asks_for_time_until_it_is_ready(told):
    clock, environment = Clock(), {"NOTIFY_SOCKET": told.address, "OTHER": "stays"}
    supervisor = Supervisor(clock, environment)
    assert environment == {"OTHER": "stays"}, "the process that writes the storage file is not to speak for the server"
    supervisor.starting()
    clock.pump([STARTING_INTERVAL] * 2)
    assert [told.receive() for _ in range(3)] == [{"EXTEND_TIMEOUT_USEC": "60000000"}] * 3
    supervisor.ready("all\nis well")
    assert told.receive() == {"READY": "1", "STATUS": "all is well"}
    clock.pump([STARTING_INTERVAL] * 2)
    assert told.is_silent(0.05)
    assert clock.getDelayedCalls() == []


def test_the_watchdog_beats_at_half_of_its_time_from_ready_to_stopped(told):
    clock = Clock()
    supervisor = Supervisor(clock, {"NOTIFY_SOCKET": told.address, "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())})
    supervisor.ready("well")
    assert [told.receive() for _ in range(2)][1] == {"WATCHDOG": "1"}
    clock.advance(1.4)
    assert told.is_silent(0.05)
    clock.advance(0.1)
    assert told.receive() == {"WATCHDOG": "1"}
    supervisor.stopping()
    assert told.receive()["STOPPING"] == "1"
    clock.advance(1.5)
    assert told.receive() == {"WATCHDOG": "1"}
    supervisor.stopped()
    assert clock.getDelayedCalls() == []


def test_a_reload_tells_the_time_of_the_monotonic_clock(told):
    before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
    Supervisor(Clock(), {"NOTIFY_SOCKET": told.address}).reloading()
    message = told.receive()
    assert before <= int(message["MONOTONIC_USEC"]) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


@pytest.mark.parametrize("interval", ["", "0", "many", "-5", "²"])
def test_no_watchdog_no_beat(told, interval):
    clock = Clock()
    Supervisor(clock, {"NOTIFY_SOCKET": told.address, "WATCHDOG_USEC": interval}).ready("well")
    assert clock.getDelayedCalls() == []


def test_without_a_supervisor_nothing_is_told_and_nothing_logged():
    clock = Clock()
    with capturedLogs() as logs:
        supervisor = Supervisor(clock, {})
        for tell in (supervisor.starting, lambda: supervisor.ready("well"), supervisor.reloading, supervisor.stopping, supervisor.stopped):
            tell()
    assert (logs, clock.getDelayedCalls()) == ([], [])


def test_a_supervisor_that_does_not_listen_is_one_line(tmp_path):
    with capturedLogs() as logs:
        Supervisor(Clock(), {"NOTIFY_SOCKET": str(tmp_path / "none")}).stopping()
    (line,) = logs
    assert "No such file" in line["error"]

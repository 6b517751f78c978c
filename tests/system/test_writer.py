"""The process that writes for a server with ``file:`` storage: killed under load, left alone, and told to stop with the others."""

import os
import signal
import threading

import pytest

from tests.support.ports import free_port
from tests.support.servers.load import Load
from tests.support.servers.process import DEVICEHIVE
from tests.support.waiting import wait_until
from tests.support.writers import has_ended, writer_of

pytestmark = pytest.mark.slow

OWN_GROUP = ("setsid", *DEVICEHIVE)
"""The server alone with its writer in a group of processes, as a shell starts it."""


@pytest.fixture
def serve(start, tmp_path):
    """A function that starts a server on the file of the test, always at the same address."""
    endpoint = f"tcp:{free_port()}:interface=127.0.0.1"
    return lambda **options: start("--storage", "file:hive.sqlite", endpoint=endpoint, **options)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "hive.sqlite"


def test_killed_under_load(serve, path):
    server = serve()
    with Load([server.url()], writers=4, readers=[server.url()]) as load:
        for _ in range(5):
            load.go_on(150)
            writer_of(path, server.process.pid).kill()
        load.go_on(150)
        assert server.terminate() == 0
        serve()
        report = load.report()
    assert report.faults == {}
    assert set(report.refused) <= {503}
    assert report.overtaken == 0
    ends = [line for line in server.log.splitlines() if "The process that writes" in line]
    assert len(ends) == 5, "one line for each"
    assert "Traceback" not in server.log


def test_a_server_that_is_killed_leaves_no_process(serve, path):
    server = serve()
    with Load([server.url()], writers=4) as load:
        load.go_on(100)
        writer = writer_of(path, server.process.pid)
        server.kill()
        serve()
        assert has_ended(writer), "the next server has the file when nobody else writes to it any more"
        load.go_on(100)
        report = load.report()
    assert report.faults == {}


def test_the_next_server_waits_for_a_writer_that_was_left_alone(serve, path):
    server = serve()
    writer = writer_of(path, server.process.pid)
    writer.suspend()
    server.kill()
    starting = threading.Thread(target=serve)
    starting.start()
    assert not has_ended(writer)
    writer.resume()
    starting.join()
    assert has_ended(writer)
    with pytest.raises(AssertionError, match="Cannot start: .*in use by process"):
        serve()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_of_the_group(serve, path, number):
    """As Ctrl-C in a terminal, and as a supervisor does it."""
    server = serve(command=OWN_GROUP)
    with Load([server.url()], writers=4) as load:
        load.go_on(100)
        writer = writer_of(path, server.process.pid)
        os.killpg(server.process.pid, number)
        server.process.wait(timeout=20)
        wait_until(lambda: has_ended(writer), "the writer goes on without its server", 10)
        assert "The process that writes" not in server.log, "it is there until the server is done"
        assert server.process.returncode == 0
        assert "Traceback" not in server.log
        serve()
        load.go_on(100)
        report = load.report()
    assert report.faults == {}
    assert report.refused == {}


def test_a_reload_that_is_signalled_to_all_of_the_group(serve, path):
    server = serve(command=OWN_GROUP)
    with Load([server.url()], writers=4) as load:
        load.go_on(100)
        writer = writer_of(path, server.process.pid)
        os.killpg(server.process.pid, signal.SIGHUP)
        wait_until(lambda: "Reloaded" in server.log, "no reload")
        load.go_on(100)
        report = load.report()
    assert not has_ended(writer)
    assert report.faults == {}
    assert report.refused == {}


def test_a_server_whose_writer_hangs_can_be_ended(serve, path):
    server = serve()
    client = server.connect()
    client.call("device/save", deviceId="d1", device={})
    writer = writer_of(path, server.process.pid)
    writer.suspend()
    client.send(action="notification/insert", deviceId="d1", notification={"notification": "t"})
    assert server.terminate() == 0
    assert has_ended(writer)
    serve()

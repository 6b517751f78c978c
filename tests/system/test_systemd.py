"""Under a supervisor that speaks as systemd does: readiness, watchdog, a socket that outlives the server."""

import http.client
import os
import signal
import socket
import sys
import threading
import uuid

import pytest

from tests.support.servers.process import DEVICEHIVE
from tests.support.servers.supervisor import NotifySocket, activated
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.lowest]

TWISTD = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "-n", "--pidfile=", "devicehive")


@pytest.fixture(params=["path", "abstract"])
def supervisor(request, tmp_path):
    """What a server tells, by either form of address."""
    told = NotifySocket(tmp_path / "notify" if request.param == "path" else f"@{uuid.uuid4()}")
    yield told
    told.close()


@pytest.mark.parametrize("command", [DEVICEHIVE, TWISTD], ids=["devicehive", "twistd"])
def test_it_is_ready_when_it_listens_reloads_and_stops(start, supervisor, command):
    server = start("--storage", "memory:", command=command, NOTIFY_SOCKET=supervisor.address)
    assert supervisor.receive() == {"EXTEND_TIMEOUT_USEC": "60000000"}
    assert supervisor.until("READY") == {"READY": "1", "STATUS": f"Listening on 127.0.0.1:{server.port}"}
    server.process.send_signal(signal.SIGHUP)
    reloading = supervisor.until("RELOADING")
    assert reloading["RELOADING"] == "1"
    assert int(reloading["MONOTONIC_USEC"]) > 0
    assert supervisor.until("READY")["STATUS"] == f"Listening on 127.0.0.1:{server.port}"
    assert server.terminate() == 0
    assert supervisor.until("STOPPING") == {"STOPPING": "1", "STATUS": "Stopping"}


def test_a_start_that_fails_is_told(start, supervisor):
    with pytest.raises(AssertionError, match="Cannot start"):
        start("--storage", "file:/nowhere/at/all", NOTIFY_SOCKET=supervisor.address)
    assert supervisor.until("STOPPING")["STATUS"] == "Cannot start; the log says why"


def test_the_watchdog_is_the_reactor(start, supervisor):
    server = start("--storage", "file:hive.sqlite", NOTIFY_SOCKET=supervisor.address, WATCHDOG_USEC="400000")
    for _ in range(5):
        assert supervisor.until("WATCHDOG") == {"WATCHDOG": "1"}
    server.process.send_signal(signal.SIGSTOP)
    supervisor.drain()
    assert supervisor.is_silent(1.0)
    server.process.send_signal(signal.SIGCONT)
    supervisor.until("WATCHDOG")
    assert server.terminate() == 0


def test_a_watchdog_for_another_process_is_none_of_its_business(start, supervisor):
    start("--storage", "memory:", NOTIFY_SOCKET=supervisor.address, WATCHDOG_USEC="200000", WATCHDOG_PID=str(os.getpid()))
    supervisor.until("READY")
    assert supervisor.is_silent(0.5)


def test_a_supervisor_that_is_gone_hinders_nobody(start, tmp_path):
    server = start("--storage", "memory:", NOTIFY_SOCKET=str(tmp_path / "nothing"))
    server.connect().close()
    assert server.terminate() == 0
    assert "could not be sent to the supervisor" in server.log
    assert "Traceback" not in server.log


class Visitors:
    """Clients that connect again and again, each for one request.

    :ivar answers: the status of each answer, or what went wrong.
    """

    def __init__(self, port, count=4):
        self.answers = []
        self._port = port
        self._enough = threading.Event()
        self._threads = [threading.Thread(target=self._visit) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def _visit(self):
        while not self._enough.is_set():
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
                connection.request("GET", "/api/rest/info")
                self.answers.append(connection.getresponse().status)
                connection.close()
            except OSError as error:
                self.answers.append(repr(error))
            except http.client.HTTPException as error:
                self.answers.append(repr(error))

    def go_on(self, count):
        """Wait until there are so many more answers."""
        enough = len(self.answers) + count
        wait_until(lambda: len(self.answers) >= enough, "no answers")

    def leave(self):
        """End."""
        self._enough.set()
        for thread in self._threads:
            thread.join()


def test_no_client_is_refused_while_the_server_restarts(start):
    with socket.create_server(("127.0.0.1", 0), backlog=128) as passed:
        port, descriptor = passed.getsockname()[1], passed.fileno()

        def start_activated():
            command = activated(descriptor, DEVICEHIVE)
            endpoint = "systemd:domain=INET:name=devicehive"
            return start("--storage", "file:hive.sqlite", command=command, endpoint=endpoint, pass_fds=(descriptor,))

        server = start_activated()
        assert server.port == port
        visitors = Visitors(port)
        try:
            for _ in range(3):
                visitors.go_on(20)
                assert server.terminate() == 0, server.log
                server = start_activated()
            visitors.go_on(20)
        finally:
            visitors.leave()
    assert set(visitors.answers) == {200}


def test_without_the_socket_the_start_says_what_is_missing(start):
    with pytest.raises(AssertionError, match=r"systemd did not pass such a socket; is devicehive\.socket enabled\?"):
        start("--storage", "memory:", endpoint="systemd:domain=INET:name=devicehive")


def accepts(port):
    """Whether something listens there."""
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def test_a_client_that_has_connected_and_says_what_it_wants_during_the_stop_is_served(start, supervisor):
    server = start("--storage", "memory:", NOTIFY_SOCKET=supervisor.address)
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        server.connect().close()
        server.process.send_signal(signal.SIGTERM)
        supervisor.until("STOPPING")
        wait_until(lambda: not accepts(server.port), "the port is still open")
        client.sendall(b"GET /api/rest/info HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.1 200 ")
    assert server.process.wait(30) == 0

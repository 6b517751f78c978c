"""SIGTERM: what is under way is finished, clients are told, the exit status is 0; also under ``twistd -n``."""

import sys
import threading

import pytest
import websocket

from tests.support.ports import free_port
from tests.support.servers.load import Load
from tests.support.servers.process import DEVICEHIVE, Client

TWISTD = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "-n", "--pidfile=", "devicehive")


@pytest.mark.parametrize("command", [DEVICEHIVE, TWISTD], ids=["devicehive", "twistd"])
def test_clients_are_told_and_the_status_is_nought(start, command):
    server = start("--storage", "memory:", command=command)
    clients = [server.connect(), Client(server.url("/client"))]
    ending = threading.Thread(target=lambda: setattr(ending, "status", server.terminate()))
    ending.start()
    for client in clients:
        opcode, data = client.socket.recv_data(control_frame=True)
        assert opcode == websocket.ABNF.OPCODE_CLOSE
        assert int.from_bytes(data[:2], "big") == 1012
        client.close()
    ending.join()
    assert ending.status == 0, server.log
    assert "Traceback" not in server.log


@pytest.mark.slow
@pytest.mark.lowest
@pytest.mark.parametrize("command", [DEVICEHIVE, TWISTD], ids=["devicehive", "twistd"])
def test_under_load(start, command):
    endpoint = f"tcp:{free_port()}:interface=127.0.0.1"
    server = start("--storage", "file:hive.sqlite", command=command, endpoint=endpoint)
    with Load([server.url()], writers=3) as load:
        load.go_on(100)
        assert server.terminate() == 0, server.log
        assert "Traceback" not in server.log
        start("--storage", "file:hive.sqlite", endpoint=endpoint)
        report = load.report()
    assert report.faults == {}
    assert report.acknowledged >= 300


def test_a_second_server_on_the_same_data_is_refused(start):
    start("--storage", "file:hive.sqlite")
    with pytest.raises(AssertionError, match=r"Cannot start: .*hive\.sqlite"):
        start("--storage", "file:hive.sqlite")

"""SIGTERM: what is under way is finished, clients are told, the exit status is 0; also under ``twistd -n``."""

import sys
import threading

import pytest
import websocket

from tests.system.process import DEVICEHIVE, Client
from tests.system.test_kill import Load, _check, _remember

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


@pytest.mark.parametrize("command", [DEVICEHIVE, TWISTD], ids=["devicehive", "twistd"])
def test_under_load(start, command):
    server = start("--storage", "file:hive.sqlite", command=command)
    enough = threading.Event()
    loads = [Load(server, f"device-{n}", enough) for n in range(3)]
    for load in loads:
        load.start()
    assert enough.wait(30), server.log
    assert server.terminate() == 0, server.log
    assert "Traceback" not in server.log
    acknowledged = {}
    for load in loads:
        load.join(30)
        _remember(acknowledged, load)
    assert _check(start("--storage", "file:hive.sqlite"), acknowledged) > 300


def test_a_second_server_on_the_same_data_is_refused(start):
    start("--storage", "file:hive.sqlite")
    with pytest.raises(AssertionError, match=r"Cannot start: .*hive\.sqlite"):
        start("--storage", "file:hive.sqlite")

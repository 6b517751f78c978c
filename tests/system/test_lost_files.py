"""Files that are deleted or damaged under a running server: it says so once, and acknowledges nothing that is lost."""

import json
import os
import shutil
import sqlite3
import urllib.error
import urllib.request
from contextlib import closing

import pytest

from tests.support.ports import free_port
from tests.support.servers.process import Client, Refused
from tests.support.servers.shell import examine
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.lowest]


def readiness(port):
    """Status and content of the page."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def not_well(lines):
    return [line for line in lines[:-1] if not line.startswith("ok ")]


@pytest.fixture
def arguments(tmp_path):
    """Endpoint and environment of a server whose data are in a directory of their own."""
    (tmp_path / "data").mkdir()
    endpoint, metrics = (f"tcp:{free_port()}:interface=127.0.0.1" for _ in range(2))
    return endpoint, {
        "DHTWISTED_STORAGE_PROVIDER": f"file:{tmp_path}/data/hive.sqlite",
        "DHTWISTED_LOG_AUDIT_FILE": f"{tmp_path}/logs/audit.log",
        "DHTWISTED_METRICS_LISTEN": metrics,
        "DHTWISTED_LIMITS_CONNECTIONS": "100",
    }


@pytest.mark.parametrize("whole", [False, True], ids=["data file", "directory"])
def test_what_is_deleted_under_a_server(start, tmp_path, arguments, whole):
    endpoint, environment = arguments
    (tmp_path / "logs").mkdir()
    server = start(endpoint=endpoint, **environment)
    client = Client(server.url())
    client.log_in()
    client.call("device/save", deviceId="d1", device={"name": "d1"})
    monitor = int(environment["DHTWISTED_METRICS_LISTEN"].split(":")[1])
    assert readiness(monitor)[0] == 200

    path = tmp_path / "data" / "hive.sqlite"
    shutil.rmtree(path.parent) if whole else path.unlink()
    shutil.rmtree(tmp_path / "logs")
    reason = f"{path}: was deleted, moved or replaced while the server works on it, so nothing more is stored"
    with pytest.raises(Refused, match="503"):
        client.call("device/save", deviceId="d2", device={"name": "d2"})
    status, parts = readiness(monitor)
    assert (status, parts["storage"]) == (503, "down")
    assert parts["problems"]["storage"].startswith(reason)
    status, lines = examine(tmp_path, "--listen", endpoint, **environment)
    found = not_well(lines)
    assert status == 1
    # The control socket is in the directory, too.
    told = f"(the server has process id {server.process.pid})" if whole else f"server: process {server.process.pid} of version"
    assert reason in found[0] and told in found[0]
    assert "there is no directory" in found[1] and "audit log" in found[1]
    assert len(found) == 2

    wait_until(lambda: "error service.self_checks storage: " in server.log, "the log does not have it")
    wait_until(lambda: "error service.self_checks audit log: " in server.log, "the log does not have it")
    assert whole == ("error service.self_checks auth provider: " in server.log), "the key was in the directory too"
    assert "Traceback" not in server.log
    assert server.terminate() == 0
    assert not whole or not path.parent.exists()


def test_damaged_pages_under_a_server(start, tmp_path, arguments):
    endpoint, environment = arguments
    environment.pop("DHTWISTED_LOG_AUDIT_FILE")
    server = start(endpoint=endpoint, **environment)
    client = Client(server.url())
    client.log_in()
    client.call("device/save", deviceId="d1", device={"name": "d1"})
    for number in range(1500):
        client.send(action="notification/insert", requestId=number, deviceId="d1", notification={"notification": f"n{number}"})
    for _ in range(1500):
        assert client.receive()["status"] == "success"

    path = tmp_path / "data" / "hive.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        file.seek(4096 * 12)
        file.write(os.urandom(path.stat().st_size - 4096 * 12))
    for _ in range(3):
        with pytest.raises(Refused, match="503"):
            client.call("notification/list", deviceId="d1", take=10000)
    status, parts = readiness(int(environment["DHTWISTED_METRICS_LISTEN"].split(":")[1]))
    assert (status, parts["storage"]) == (503, "down")
    assert "is malformed; stop the server, keep a copy of the file and its -wal, and restore a backup" in parts["problems"]["storage"]
    refused = [line for line in server.log.splitlines() if "notification/list refused" in line]
    assert 1 <= len(refused) <= 3
    assert "Traceback" not in server.log
    server.terminate()
    status, lines = examine(tmp_path, "--listen", endpoint, **environment)
    (found,) = not_well(lines)
    assert status == 1
    assert found.startswith(f"wrong    storage: {path}: is damaged (")

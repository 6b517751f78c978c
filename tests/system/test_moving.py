"""A server moves to another storage: its users log in as before, its messages are there, its counts go on."""

import json
import subprocess

import pytest

from tests.support.command import environment
from tests.support.packages import ROOT, path_of
from tests.support.servers.process import DEVICEHIVE, PASSWORD, Client

pytestmark = pytest.mark.slow

SECONDS = 60
TARGETS = {"file": ("--storage", "file:two.sqlite"), "elsewhere": ("--storage", "file:two.sqlite", "--messages", "journal:two.journal")}


@pytest.fixture
def devicehive(journal_site, tmp_path):
    """Runs the command to its end, which must be a good one."""

    def run(*arguments):
        done = subprocess.run(
            [*DEVICEHIVE, *arguments],
            cwd=tmp_path,
            env=environment() | {"PYTHONPATH": path_of(journal_site, ROOT)},
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    return run


def fill(client):
    """Make a user with a password, a device, messages; returns the id of the command."""
    user = {"login": "anna", "password": "annas-password", "role": 1, "status": 0, "data": {"a": 1.10}}
    client.call("user/insert", user=user)
    client.call("network/insert", network={"name": "greenhouse"})
    client.call("configuration/put", name="colour", value="red")
    client.call("device/save", deviceId="d-1", device={"name": "lamp", "networkId": 1, "deviceTypeId": 1, "data": {"b": [2]}})
    for n in range(100):
        client.call("notification/insert", deviceId="d-1", notification={"notification": "t", "parameters": {"celsius": n}})
    command_id = client.call("command/insert", deviceId="d-1", command={"command": "on"})["command"]["id"]
    client.call("command/update", deviceId="d-1", commandId=command_id, command={"status": "done", "result": {"r": None}})
    return command_id


def seen(client, command_id):
    """What a client sees of all that."""
    return [
        client.call("user/list", sortField="id")["users"][1],
        client.call("network/list", sortField="id")["networks"],
        client.call("configuration/get", name="colour")["configuration"],
        client.call("device/get", deviceId="d-1")["device"],
        client.call("notification/list", deviceId="d-1", take=1000)["notifications"],
        client.call("command/get", deviceId="d-1", commandId=command_id)["command"],
    ]


@pytest.mark.parametrize("target", TARGETS)
def test_a_server_goes_on_elsewhere(start, devicehive, journal_site, tmp_path, target):
    server = start("--storage", "file:one.sqlite")
    client = server.connect()
    command_id = fill(client)
    before = seen(client, command_id)
    client.close()
    assert server.terminate() == 0
    devicehive("--storage", "file:one.sqlite", "export", "all.jsonl.gz")
    devicehive(*TARGETS[target], "import", "all.jsonl.gz")
    assert (tmp_path / "two.journal").exists() == (target == "elsewhere")

    another = {"DHTWISTED_AUTH_ADMIN_PASSWORD": "another-password", "PYTHONPATH": path_of(journal_site, ROOT)}
    server = start(*TARGETS[target], **another)
    client = server.connect()
    assert seen(client, command_id) == before
    anna = Client(server.url())
    assert anna.call("token", login="anna", password="annas-password")["accessToken"]
    anna.close()
    assert "First start" not in server.log
    last = max(notification["id"] for notification in before[4])
    inserted = client.call("notification/insert", deviceId="d-1", notification={"notification": "t"})["notification"]
    assert inserted["id"] == last + 1
    assert client.call("command/insert", deviceId="d-1", command={"command": "on"})["command"]["id"] == command_id + 1
    assert client.call("network/insert", network={"name": "new"})["network"]["id"] == 3
    client.close()
    assert server.terminate() == 0


def test_what_a_strangers_storage_has_comes_back(start, devicehive, journal_site, tmp_path):
    server = start(*TARGETS["elsewhere"], PYTHONPATH=path_of(journal_site, ROOT))
    client = server.connect()
    fill(client)
    client.close()
    assert server.terminate() == 0
    devicehive(*TARGETS["elsewhere"], "export", "one.jsonl")
    devicehive("--storage", "file:three.sqlite", "import", "one.jsonl")
    devicehive("--storage", "file:three.sqlite", "export", "two.jsonl")
    one, two = ((tmp_path / name).read_text().splitlines() for name in ("one.jsonl", "two.jsonl"))
    assert one[1:] == two[1:], "all but the time of the export"
    assert json.loads(one[-1])["end"]["notification"] == 101
    assert PASSWORD not in "".join(one)

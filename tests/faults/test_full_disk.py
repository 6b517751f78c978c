"""The disk is full, on a real file system of some megabytes (Messages 6 and 1)."""

import subprocess
import time
from contextlib import contextmanager

import pytest

from tests.support.servers.process import Client, Refused
from tests.support.waiting import wait_until

MEGABYTES = 6
FILLER = 4_500_000
PAYLOAD = "x" * 20_000


@contextmanager
def small_disk(directory):
    """A file system of its own in a directory."""
    directory.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m", "tmpfs", directory], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"only root may mount a small file system: {mounted.stderr.strip()}")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)


def insert(client, names):
    """Insert notifications until one is refused; returns the ids of those that were acknowledged, and the code of the refusal."""
    acknowledged = []
    for name in names:
        try:
            reply = client.call("notification/insert", deviceId="pump", notification={"notification": name, "parameters": PAYLOAD})
        except Refused as refused:
            return acknowledged, refused.args[0]["code"]
        acknowledged.append(reply["notification"]["id"])
    return acknowledged, None


def stored(client):
    """The ids of all notifications, ascending."""
    found = client.call("notification/list", deviceId="pump", take=10_000, sortField="timestamp", sortOrder="ASC")["notifications"]
    return [notification["id"] for notification in found if notification["notification"] != "$device-add"]


def test_writing_is_refused_reading_goes_on_and_nothing_acknowledged_is_lost(start, tmp_path):
    with small_disk(tmp_path / "disk") as disk:
        filler = disk / "filler"
        filler.write_bytes(bytes(FILLER))
        storage = f"file:{disk / 'hive.sqlite'}"
        server = start("--storage", storage)
        client = server.connect()
        client.call("device/save", deviceId="pump", device={"name": "Pump", "networkId": 1, "deviceTypeId": 1})
        acknowledged, code = insert(client, ["before"] * 1000)
        assert (bool(acknowledged), code) == (True, 503)

        begun = time.monotonic()
        assert insert(client, ["while"]) == ([], 503)
        assert time.monotonic() - begun < 10
        assert set(stored(client)) == set(acknowledged), "reading goes on"
        assert server.process.poll() is None

        filler.unlink()
        after = []
        wait_until(lambda: after.extend(insert(client, ["after"])[0]) or after, "it does not write again", 15)
        acknowledged += after + insert(client, ["after"] * 20)[0]
        assert len(set(acknowledged)) == len(acknowledged)

        server.kill()
        again = Client(start("--storage", storage).url())
        again.log_in()
        found = stored(again)
        assert sorted(found) == sorted(set(found)), "nothing twice"
        assert set(acknowledged) <= set(found)
        assert "Traceback" not in server.log
        for each in (client, again):
            each.close()

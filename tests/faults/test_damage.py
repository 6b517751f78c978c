"""Data of a server that was killed are damaged (Messages 11): a sample of the ways of ``damage.py``."""

import subprocess
from collections import Counter

import pytest
import pytest_twisted

from tests.support.attacks.damage import ACCEPTED, BAD, FINE, LOST, NAME, REFUSED, REPORTED, damage, damages, killed_server, outcome
from tests.support.servers.process import CHECKOUT, DEVICEHIVE, Client

SAMPLE = damages(times=1)


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """The directory of data, and what was acknowledged of it."""
    directory = tmp_path_factory.mktemp("killed")
    return directory, killed_server(directory)


@pytest.mark.parametrize(("way", "suffix", "change"), SAMPLE, ids=[f"{suffix or 'main'} {way}" for way, suffix, _ in SAMPLE])
@pytest_twisted.ensureDeferred
async def test_nothing_is_lost_without_a_word(killed, tmp_path, reactor, way, suffix, change):
    source, acknowledged = killed
    path = damage(source, tmp_path / "copy", suffix, change)
    result, said = await outcome(reactor, path, acknowledged)
    assert result not in BAD, said
    if suffix:
        assert result == REFUSED
    if result in (REFUSED, REPORTED):
        result, said = await outcome(reactor, path, acknowledged, accepts_loss=True)
        # A bit of the checksum of a script cannot be told from another script.
        assert result in (ACCEPTED, FINE) or "was made by another script" in said, said


@pytest.mark.slow
@pytest_twisted.ensureDeferred
async def test_many_ways(killed, tmp_path, reactor):
    source, acknowledged = killed
    table = Counter()
    for number, (_, suffix, change) in enumerate(damages(seed=5, times=6)):
        result, _ = await outcome(reactor, damage(source, tmp_path / str(number), suffix, change), acknowledged)
        table[result] += 1
    assert set(table) & BAD == set()
    assert LOST not in table


@pytest_twisted.ensureDeferred
async def test_a_plain_kill_refuses_nothing(killed, tmp_path, reactor):
    source, acknowledged = killed
    path = damage(source, tmp_path / "copy", "", lambda data: data)
    assert await outcome(reactor, path, acknowledged) == (FINE, "")


def test_a_server_without_its_log_is_refused_in_one_line_until_the_loss_is_accepted(start, tmp_path):
    storage = ("--storage", f"file:{NAME}")
    server = start(*storage)
    client = server.connect()
    client.call("device/save", deviceId="pump", device={"name": "Pump", "networkId": 1, "deviceTypeId": 1})
    for number in range(5):
        last = client.call("notification/insert", deviceId="pump", notification={"notification": f"n{number}"})["notification"]["id"]
    client.close()
    server.kill()
    (tmp_path / f"{NAME}-wal").unlink()
    refused = subprocess.run(
        [*DEVICEHIVE, *storage, "--listen", "tcp:0:interface=127.0.0.1"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(CHECKOUT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert refused.returncode == 1
    (line,) = [line for line in (refused.stdout + refused.stderr).splitlines() if "Cannot start" in line]
    assert f"notifications with id 1 to {last}" in line
    assert "--accept-loss" in line
    again = start(*storage, "--accept-loss", DHTWISTED_LOG_AUDIT_FILE=str(tmp_path / "audit.log"))
    assert "Started with --accept-loss" in again.log
    assert f"storage: the data lacks what was acknowledged last, as {tmp_path}/{NAME}.mark shows" in again.log
    assert '"event": "server/loss"' in (tmp_path / "audit.log").read_text()
    client = Client(again.url())
    client.log_in()
    client.call("device/save", deviceId="pump", device={"name": "Pump", "networkId": 1, "deviceTypeId": 1})
    reply = client.call("notification/insert", deviceId="pump", notification={"notification": "after"})
    assert reply["notification"]["id"] > last
    client.close()

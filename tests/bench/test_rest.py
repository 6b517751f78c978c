"""What the rows about REST read back, and the peer that they are compared with."""

import os
import time
import urllib.request

import pytest

from bench.figures import Lost
from bench.rows.rest import LISTED, fill, prove
from bench.servers import DeviceHive, Web
from bench.web import INSERTED

CORES = os.sched_getaffinity(0)


@pytest.fixture
def server(tmp_path):
    """This server with one device."""
    with DeviceHive(tmp_path / "hive", "memory:", CORES) as hive:
        yield hive.prepare()


def test_inserts_that_are_not_stored_are_a_loss(server):
    since = int(time.time() * 1000)
    fill(server)
    prove(server, since, LISTED)
    with pytest.raises(Lost, match="101 inserts were answered, but 100 are stored"):
        prove(server, since, LISTED + 1)
    fill(server)
    with pytest.raises(Lost, match="200 inserts were answered, but 200 are stored, 100 of them different"):
        prove(server, since, 2 * LISTED)


def test_a_list_of_others_is_a_loss(server, monkeypatch):
    monkeypatch.setattr("bench.rows.rest._get", lambda server: b'[{"parameters":{"n":1}}]')
    with pytest.raises(Lost, match="the list of 100 has 1"):
        fill(server)


def test_bare_twisted_web_answers_like_this_server(tmp_path):
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with Web(tmp_path / "web", CORES, b"[1]") as peer:
        place = f"http://127.0.0.1:{peer.port}/api/rest/device/d1/notification"
        with opener.open(place, data=b"{}", timeout=30) as answer:
            assert (answer.status, answer.read()) == (201, INSERTED)
            assert answer.headers["Content-Length"] == str(len(INSERTED))
        with opener.open(f"{place}?take=1", timeout=30) as answer:
            assert answer.read() == b"[1]"

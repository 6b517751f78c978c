"""The clock is set back by an hour, and forward by a day, while the server works (Messages 2 and 3)."""

import shutil
import time
from itertools import count
from pathlib import Path

import pytest

from tests.support.attacks.client import Wire
from tests.support.servers.process import PASSWORD
from tests.support.waiting import wait_until

FAKETIME = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))
HOUR, DAY = 3600, 86400
pytestmark = pytest.mark.skipif(not FAKETIME, reason="libfaketime is not installed (Debian package faketime)")


@pytest.fixture
def set_clock(tmp_path):
    """A function that sets the clock of the server so many seconds off."""
    path = tmp_path / "offset"

    def set_to(seconds):
        # In one step: the server may read it at any moment.
        (tmp_path / "next").write_text(f"{seconds:+d}\n")
        shutil.move(tmp_path / "next", path)

    set_to(0)
    return set_to


@pytest.fixture
def start_server(start, tmp_path, set_clock):
    """Start a server that goes by that clock, but for the one that nobody sets; on the same data each time."""

    def start_it():
        server = start(
            "--storage",
            "file:hive.sqlite",
            DHTWISTED_LIMITS_AUTHENTICATE_TIMEOUT="2s",
            DHTWISTED_STORAGE_RETENTION="1h",
            LD_PRELOAD=str(FAKETIME[0]),
            FAKETIME_TIMESTAMP_FILE=str(tmp_path / "offset"),
            FAKETIME_NO_CACHE="1",
            FAKETIME_DONT_FAKE_MONOTONIC="1",
            DONT_FAKE_MONOTONIC="1",
        )
        server.client = server.connect()
        return server

    return start_it


@pytest.fixture
def server(start_server):
    """The server, with the device ``pump``."""
    server = start_server()
    server.client.call("device/save", deviceId="pump", device={"name": "Pump", "networkId": 1, "deviceTypeId": 1})
    return server


def insert(server, count=20):
    """Insert notifications; returns their ``(timestamp, id)``."""
    replies = [server.client.call("notification/insert", deviceId="pump", notification={"notification": "n"}) for _ in range(count)]
    return [(reply["notification"]["timestamp"], reply["notification"]["id"]) for reply in replies]


@pytest.mark.parametrize("step", [-HOUR, DAY])
def test_times_do_not_step_back_and_nothing_is_missed(server, set_clock, step):
    stamps = insert(server)
    subscriber = server.connect()
    subscriber.call("notification/subscribe", deviceId="pump", timestamp=stamps[0][0])
    set_clock(step)
    stamps += insert(server)
    set_clock(0)
    stamps += insert(server)
    assert stamps == sorted(stamps), "by time and id"
    delivered = subscriber.events
    while len(delivered) < len(stamps):
        delivered.append(subscriber.receive())
    assert [event["notification"]["id"] for event in delivered] == [message_id for _, message_id in stamps]
    again = server.connect()
    again.call("notification/subscribe", deviceId="pump", timestamp=stamps[10][0])
    since = [message_id for stamp, message_id in stamps if stamp >= stamps[10][0]]
    while len(again.events) < len(since):
        again.events.append(again.receive())
    assert [event["notification"]["id"] for event in again.events] == since
    assert server.terminate() == 0
    assert "Traceback" not in server.log


@pytest.mark.parametrize("clock", [0, -20_000 * DAY, 26_000 * DAY], ids=["a device's own", "1970", "2099"])
def test_a_clock_that_is_days_ahead_deletes_nothing(server, start_server, set_clock, clock):
    """Nor does a start with such a clock, whatever time the clocks of devices show."""
    for _ in range(3):
        notification = {"notification": "n", "timestamp": max(0, int((time.time() + clock) * 1000))}
        server.client.call("notification/insert", deviceId="pump", notification=notification)
    days = count(1)

    def has_looked_twice():
        set_clock(next(days) * DAY)
        return server.log.count("old messages stay for another day") > 1

    wait_until(has_looked_twice, "that the clock is ahead is not seen")
    assert len(server.client.call("notification/list", deviceId="pump", notification="n")["notifications"]) == 3
    assert server.terminate() == 0
    again = start_server()
    wait_until(lambda: "old messages stay for another day" in again.log, "that the clock is ahead is not seen at the start")
    assert len(again.client.call("notification/list", deviceId="pump", notification="n")["notifications"]) == 3


def test_replies_and_time_limits_go_on_after_a_step_back(server, set_clock):
    """Under load, since it would be one turn of the reactor whose replies are never sent."""
    stranger = Wire(server.port)
    busy = [Wire(server.port) for _ in range(8)]
    token = server.client.call("token", login="dhadmin", password=PASSWORD)["accessToken"]
    for wire in busy:
        wire.say(action="authenticate", token=token)
        assert b"success" in wire.read_text()
    for number in range(40):
        set_clock(-HOUR * number)
        for wire in busy:
            for _ in range(50):
                wire.say(action="server/info", requestId=number)
    begun = time.monotonic()
    for wire in busy:
        for _ in range(40 * 50):
            assert b"success" in wire.read_text()
    assert time.monotonic() - begun < 60
    assert stranger.close_code() == 1008, "it had two seconds to authenticate"
    assert time.monotonic() - begun < 60
    wait_until(lambda: "the clock was set back" in server.log, "it is not logged")

"""The load tool: it counts right, it comes back after a restart, and it notices what is wrong."""

from contextlib import closing
from copy import deepcopy

import pytest

from tests.support.ports import free_port
from tests.support.servers.load import Load
from tests.support.servers.report import Report, read_stored
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow


@pytest.fixture
def server(start):
    return start("--storage", "memory:")


def devices(load):
    return [writer.device_id for writer in load.writers]


def test_all_is_acknowledged_stored_and_delivered(server):
    with Load([server.url()], writers=2, window=16, readers=[server.url(), server.url()]) as load:
        load.go_on(150)
        report = load.report()
    assert report.faults == {}
    assert report.refused == {} and report.unanswered == 0 and report.overtaken == 0
    assert report.acknowledged == report.sent >= 300
    inserts = sum(kind in ("notification", "command") for writer in load.writers for kind in writer.sent.values())
    assert report.found == inserts < report.sent, "some requests are updates"
    assert report.delivered == 2 * inserts
    assert 0 < report.longest < 10


def test_servers_share_the_writers(start, server):
    other = start("--storage", "memory:")
    with Load([server.url(), other.url()], writers=2) as load:
        served, unknown = load.writers
        wait_until(lambda: len(served.acknowledged) > 10 and unknown.refused, "nothing is answered")
    assert served.refused == [] and unknown.acknowledged == {}
    assert {code for _, code, _ in unknown.refused} == {404}, "its device is not known there"


def test_it_comes_back_after_a_restart_and_finds_nothing_lost(start):
    endpoint = f"tcp:{free_port()}:interface=127.0.0.1"
    server = start("--storage", "file:hive.sqlite", endpoint=endpoint)
    with Load([server.url()], writers=2, readers=[server.url()]) as load:
        load.go_on(100)
        server.kill()
        start("--storage", "file:hive.sqlite", endpoint=endpoint)
        load.go_on(100)
        report = load.report()
    assert report.faults == {}
    assert [worker.connections for worker in (*load.writers, *load.readers)] == [2, 2, 2]
    assert report.acknowledged + report.unanswered == report.sent
    assert report.delivered == report.found >= report.acknowledged // 3


def test_refusals_are_counted_and_the_load_goes_on(server):
    device = {"deviceId": "device-1"}
    with Load([server.url()], writers=2) as load:
        load.go_on(10)
        with closing(server.connect()) as client:
            client.call("device/delete", **device)
            wait_until(lambda: len(load.writers[1].refused) > 10, "nothing is refused")
            client.call("device/save", **device, device={})
        load.go_on(10)
        report = load.report()
    assert report.refused == {404: len(load.writers[1].refused)}
    assert report.acknowledged + report.refused[404] == report.sent
    assert report.faults.keys() == {"missed", "update missed"}
    assert all(place.endswith(" of device-1") for places in report.faults.values() for place in places), "its messages went with it"


@pytest.fixture
def done(server):
    """A load that is over, and what is stored of it."""
    with Load([server.url()], writers=1, readers=[server.url()]) as load:
        load.go_on(100)
        load.report()
    with closing(server.connect()) as client:
        yield load, read_stored(client, devices(load))


NOTIFICATIONS, COMMANDS = ("notification", "device-0"), ("command", "device-0")


def forget(stored):
    del stored[NOTIFICATIONS][3]


def store_twice(stored):
    stored[NOTIFICATIONS].append(stored[NOTIFICATIONS][-1] | {"id": 10**6})


def store_otherwise(stored):
    stored[COMMANDS][3]["timestamp"] = "2001-01-01T00:00:00.000"


def store_more(stored):
    stored[COMMANDS].append(stored[COMMANDS][-1] | {"id": 10**6, "parameters": 10**6})


def forget_update(stored):
    for command in stored[COMMANDS]:
        command["result"] = None


@pytest.mark.parametrize(
    ("spoil", "faults"),
    [
        (forget, {"missed", "delivered but not stored"}),
        (store_twice, {"doubled", "changed", "not delivered"}),
        (store_otherwise, {"changed", "stored out of order", "delivered otherwise than stored"}),
        (store_more, {"never sent", "not delivered"}),
        (forget_update, {"update missed"}),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_is_wrong_in_storage_is_noticed(done, spoil, faults):
    load, stored = done
    assert Report(load.writers, load.readers, stored).faults == {}
    spoiled = deepcopy(stored)
    spoil(spoiled)
    assert Report(load.writers, load.readers, spoiled).faults.keys() == faults


def test_what_is_wrong_in_deliveries_is_noticed(done):
    load, stored = done
    (reader,) = load.readers
    messages = reader.got[NOTIFICATIONS]
    messages[3], messages[4] = messages[4], messages[3]
    reader.repeated.append("command 1 of device-0")
    del reader.got[COMMANDS][-1]
    faults = Report(load.writers, load.readers, stored).faults
    assert faults.keys() == {"delivered out of order", "delivered twice", "not delivered"}
    assert faults["delivered twice"] == ["command 1 of device-0"]


def test_what_was_in_flight_together_may_be_overtaken_and_nothing_else(done):
    load, stored = done
    (writer,) = load.writers
    first, second, *_, last = (number for number, kind in writer.sent.items() if kind == "notification" and number in writer.acknowledged)
    assert writer.sent_by_then[first] >= second and last > writer.sent_by_then[second]
    said = writer.acknowledged
    said[first], said[second] = said[second], said[first]
    report = Report(load.writers, load.readers, stored)
    assert (report.faults.keys(), report.overtaken) == ({"changed"}, 1)
    said[last] = said[first]
    report = Report(load.writers, load.readers, stored)
    assert report.faults["acknowledged out of order"] == [f"notification {last} of device-0"]

"""The rows about MQTT: what they send, and that they have figures of real servers or say why there are none."""

import json
import os
from dataclasses import replace

import pytest

from bench.figures import Failed
from bench.generator import Generator, mqtt_load
from bench.machine import Cores
from bench.plan import QUICK, Bench
from bench.rows.mqtt import FAN_0, as_client, deliveries, filters_many, filters_none, on_hive, reading
from bench.servers import DeviceHive
from tests.support.loadgen import needs_compiler

pytestmark = needs_compiler

CORES = frozenset(os.sched_getaffinity(0))
FEW = {"pubs": 2, "subs": 1, "window": 4}


@pytest.fixture
def bench(tmp_path, program):
    """A benchmark of short runs with few connections."""
    sizes = replace(QUICK, warm=0.05, secs=0.2, connections=20)
    return Bench(tmp_path, Cores(CORES, CORES, CORES), Generator(program, CORES), sizes)


@pytest.fixture
def server(tmp_path):
    """This server with MQTT and one device."""
    with DeviceHive(tmp_path / "hive", "memory:", CORES, mqtt=True) as hive:
        yield hive.prepare()


def test_a_reading_has_as_many_bytes_as_all_sides_carry():
    sent, others = (text.replace("{n}", "1234567890") for text in (reading(), mqtt_load()["payload"]))
    assert len(sent) == len(others)
    assert json.loads(sent)["n"] == 1234567890


def test_plain_topics_have_figures(bench):
    assert on_hive("memory:", FEW)(bench)["requests"] > 0
    assert on_hive("memory:", FAN_0 | {"subs": 5}, deliveries)(bench)["deliveries"] > 0


def test_filters_of_others_are_there_while_it_is_measured(bench):
    assert filters_none(bench).keys() == filters_many(bench).keys() == {"microseconds", "inserts"}


def test_a_wrong_password_is_a_failure(bench, server):
    with pytest.raises(Failed, match="the broker refused the connection, code [45]"):
        bench.load(server, **mqtt_load(**FEW, **as_client(server) | {"password": "wrong"}))


def test_no_login_is_a_failure(bench, server):
    with pytest.raises(Failed, match="the broker refused the connection, code [45]"):
        bench.load(server, **mqtt_load(**FEW, port=server.mqtt_port))


def test_a_row_whose_topics_are_refused_is_a_failure_without_a_figure(bench):
    with pytest.raises(Failed, match="the broker refused the subscription"):
        on_hive("memory:", FEW | {"sub_topic": "$SYS/#"})(bench)

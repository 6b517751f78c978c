"""Health and metrics: what is told of a server that starts, serves and stops, and of a storage that hangs."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_twisted
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.web.client import Agent, readBody

from dhtwisted.config import AuthSettings, MetricsSettings, ServerSettings, Settings, StorageSettings
from dhtwisted.errors import TooManyRequests
from dhtwisted.metrics import Metrics, family
from dhtwisted.polls import Poll, Polls
from dhtwisted.service import DeviceHiveService
from dhtwisted.storage.memory import MemoryStorage
from dhtwisted.transports.monitoring import PROBE_INTERVAL, PROBE_SECONDS, Monitor, Probe

LOOPBACK = ("tcp:0:interface=127.0.0.1",)
SETTINGS = Settings(
    storage=StorageSettings(provider="memory:"),
    server=ServerSettings(listen=LOOPBACK),
    metrics=MetricsSettings(listen=LOOPBACK),
    auth=AuthSettings(admin_password="swordfish", password_cost=10),
)


@pytest.fixture
def service(reactor):
    service = DeviceHiveService(reactor, SETTINGS)
    service.startService()
    assert pytest_twisted.blockon(service.started)
    yield service
    pytest_twisted.blockon(maybeDeferred(service.stopService))


async def get(reactor, address, path):
    response = await Agent(reactor).request(b"GET", f"http://{address[0]}:{address[1]}{path}".encode())
    return response.code, await readBody(response)


@pytest_twisted.ensureDeferred
async def test_a_server_that_serves_is_ready(reactor, service):
    (address,) = service.monitor_addresses
    assert await get(reactor, address, "/health/live") == (200, b"live\n")
    status, body = await get(reactor, address, "/health/ready")
    assert (status, json.loads(body)) == (200, {"storage": "up", "listening": "up"})


@pytest_twisted.ensureDeferred
async def test_metrics_can_be_parsed(reactor, service):
    status, body = await get(reactor, service.monitor_addresses[0], "/metrics")
    families = {each.name: each for each in text_string_to_metric_families(body.decode())}
    assert status == 200
    assert families["dhtwisted_listening"].samples[0].value == 1
    assert families["dhtwisted_connections"].samples[0].value == 0


@pytest_twisted.ensureDeferred
async def test_clients_do_not_find_metrics_on_their_port(reactor, service):
    status, _ = await get(reactor, service.addresses[0], "/metrics")
    assert status == 404


@pytest_twisted.ensureDeferred
async def test_without_an_option_nothing_more_listens(reactor):
    service = DeviceHiveService(reactor, replace(SETTINGS, metrics=MetricsSettings()))
    service.startService()
    assert await service.started
    assert service.monitor_addresses == []
    await service.stopService()


@pytest_twisted.ensureDeferred
async def test_before_the_start_nothing_is_ready():
    assert await Monitor(Clock()).readiness() == {"storage": "down", "listening": "down"}


def test_a_storage_that_hangs_is_asked_once_and_is_down_in_time():
    clock, asked, answers = Clock(), [], []

    def ask():
        asked.append(Deferred())
        return asked[-1]

    probe = Probe(clock, ask)
    for _ in range(3):
        probe.check().addCallback(answers.append)
    clock.advance(PROBE_SECONDS)
    assert answers == [False] * 3
    probe.check().addCallback(answers.append)
    assert (len(asked), answers) == (1, [False] * 4)
    asked[0].callback(None)
    clock.advance(PROBE_INTERVAL)
    probe.check().addCallback(answers.append)
    asked[1].callback(None)
    assert answers[-1] is True


def test_labels_are_escaped():
    text = family("a", "gauge", "A.", [({"b": 'x"\\\n'}, 1)])
    (parsed,) = text_string_to_metric_families(text)
    assert parsed.samples[0].labels == {"b": 'x"\\\n'}


@pytest_twisted.ensureDeferred
async def test_the_dashboard_asks_for_nothing_that_is_not_there(reactor, service):
    dashboard = json.loads((Path(__file__).parents[2] / "conf" / "grafana-dashboard.json").read_text())
    _, body = await get(reactor, service.monitor_addresses[0], "/metrics")
    names = set(re.findall(r"^# TYPE (\S+)", body.decode(), re.MULTILINE))
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked = set(re.findall(r"\b(?:dhtwisted|process)_\w+", " ".join(queries)))
    assert asked
    assert asked - names == set()
    assert {"title", "schemaVersion", "panels", "templating", "time"} <= dashboard.keys()
    assert all({"id", "type", "title", "gridPos", "datasource"} <= panel.keys() for panel in dashboard["panels"])


def test_a_refused_poll_is_counted():
    metrics = Metrics()
    polls = Polls(1, metrics.refused)
    polls.add(Poll())
    with pytest.raises(TooManyRequests):
        polls.add(Poll())
    assert +metrics.refusals == {"polls": 1}


@pytest_twisted.ensureDeferred
async def test_a_server_that_stops_is_not_ready(reactor, service, monkeypatch):
    closing = Deferred()
    monkeypatch.setattr(MemoryStorage, "close", lambda self: closing)
    stopped = service.stopService()
    status, body = await get(reactor, service.monitor_addresses[0], "/health/ready")
    closing.callback(None)
    await stopped
    assert (status, json.loads(body)["listening"]) == (503, "down")


@pytest_twisted.ensureDeferred
async def test_a_storage_that_hangs_makes_the_server_not_ready(reactor, service, monkeypatch):
    hanging = Deferred()
    monkeypatch.setattr(MemoryStorage, "get", lambda self, kind, key: hanging)
    status, body = await get(reactor, service.monitor_addresses[0], "/health/ready")
    hanging.callback(None)
    assert (status, json.loads(body)) == (503, {"storage": "down", "listening": "up"})

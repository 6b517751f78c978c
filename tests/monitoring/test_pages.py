"""Health and metrics: what is told of a server that starts, serves and stops, and of a storage that hangs."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_twisted
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.task import Clock
from twisted.web.client import Agent, readBody
from zope.interface import implementer

from dhtwisted.config.mqtt import MqttSettings
from dhtwisted.config.settings import AuthSettings, MetricsSettings, ServerSettings, Settings, StorageSettings
from dhtwisted.core.counters import Metrics
from dhtwisted.core.polls import Poll, Polls
from dhtwisted.errors import TooManyRequests
from dhtwisted.interfaces import IObservedBus, ISelfCheck
from dhtwisted.model import MessageQuery, Notification
from dhtwisted.monitoring.pages import PROBE_INTERVAL, PROBE_SECONDS, Monitor, Probe
from dhtwisted.monitoring.prometheus import family
from dhtwisted.providers.memory import MemoryStorage
from dhtwisted.providers.sqlite.storage import FileStorage
from dhtwisted.service.service import DeviceHiveService
from dhtwisted.testing.storage.base import notification

LOOPBACK = ("tcp:0:interface=127.0.0.1",)
SETTINGS = Settings(
    storage=StorageSettings(provider="memory:"),
    server=ServerSettings(listen=LOOPBACK),
    metrics=MetricsSettings(listen=LOOPBACK),
    auth=AuthSettings(admin_password="swordfish", password_cost=10),
)


@pytest.fixture
def closing(monkeypatch):
    """What the end of a storage waits for. It stands before the service in a test: a start notes how to close what it opens."""
    closing = Deferred()
    monkeypatch.setattr(MemoryStorage, "close", lambda self: closing)
    return closing


@pytest.fixture
def settings():
    """Those of :func:`service`."""
    return SETTINGS


@pytest.fixture
def service(reactor, settings):
    service = DeviceHiveService(reactor, settings)
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
    assert (status, json.loads(body)) == (200, {"storage": "up", "bus": "up", "listening": "up"})


@pytest_twisted.ensureDeferred
async def test_metrics_can_be_parsed(reactor, service):
    status, body = await get(reactor, service.monitor_addresses[0], "/metrics")
    families = {each.name: each for each in text_string_to_metric_families(body.decode())}
    assert status == 200
    assert families["dhtwisted_listening"].samples[0].value == 1
    assert families["dhtwisted_connections"].samples[0].value == 0


@pytest.mark.parametrize(("path", "words"), [("/", "/health/live"), ("/health", "/health/ready"), ("/nothing/at/all", "/metrics")])
@pytest_twisted.ensureDeferred
async def test_what_is_no_page_is_not_found(reactor, service, path, words):
    status, body = await get(reactor, service.monitor_addresses[0], path)
    assert (status, words in body.decode()) == (404, True)


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


@pytest_twisted.ensureDeferred
async def test_messages_that_are_kept_elsewhere_are_asked_for_themselves():
    clock, storage, messages = Clock(), MemoryStorage(Clock()), MemoryStorage(Clock())
    await storage.open()
    await messages.open()
    monitor = Monitor(clock)
    monitor.watch_storages(storage, messages)
    assert await monitor.readiness() == {"storage": "up", "messages": "up", "listening": "down"}
    await messages.close()
    clock.advance(PROBE_INTERVAL)
    assert await monitor.readiness() == {"storage": "up", "messages": "down", "listening": "down"}


@implementer(ISelfCheck)
class Troubled(MemoryStorage):
    """A storage that has a problem now and then."""

    told = ""

    def problem(self):
        if self.told is None:
            raise ValueError("a defect")
        return self.told


@pytest_twisted.ensureDeferred
async def test_a_storage_that_has_a_problem_is_down_with_the_reason(reactor):
    storage = Troubled(Clock())
    await storage.open()
    monitor = Monitor(Clock())
    monitor.watch_storages(storage, storage)
    monitor.is_listening = True
    assert await monitor.readiness() == {"storage": "up", "listening": "up"}
    storage.told = "hive.sqlite: was deleted"
    assert (await monitor.readiness(), monitor.problems()) == ({"storage": "down", "listening": "up"}, {"storage": storage.told})
    storage.told = None
    assert (await monitor.readiness())["storage"] == "down"
    assert monitor.problems() == {"storage": "it cannot say how it is: ValueError"}


@pytest_twisted.ensureDeferred
async def test_commits_and_reads_of_a_storage_that_measures_them(reactor, tmp_path):
    storage = FileStorage(str(tmp_path / "hive.sqlite"), reactor)
    await storage.open()
    monitor = Monitor(reactor)
    monitor.watch_storages(storage, storage)
    await gatherResults([storage.append([notification()]) for _ in range(3)])
    await storage.find_messages(Notification, MessageQuery())
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for each in text_string_to_metric_families(monitor.render())
        for sample in each.samples
    }
    await storage.close()
    # The first is committed alone, the others wait for that and share the next commit.
    assert samples["dhtwisted_storage_commit_operations_sum", "storage"] == 3
    assert samples["dhtwisted_storage_commit_operations_bucket", "storage", "1"] == 1
    assert samples["dhtwisted_storage_commit_operations_bucket", "storage", "2"] == 2
    assert samples["dhtwisted_storage_commit_seconds_count", "storage"] == 2
    assert samples["dhtwisted_storage_commit_seconds_bucket", "storage", "+Inf"] == 2
    assert samples["dhtwisted_storage_read_seconds_count", "storage"] == 1


@implementer(IObservedBus)
class ToldBus:
    """A bus that says of itself what a test wants."""

    up, lag = True, 0.0


@pytest_twisted.ensureDeferred
async def test_a_bus_that_does_not_hear_the_others_makes_the_server_not_ready():
    monitor, bus = Monitor(Clock()), ToldBus()
    monitor.watch_bus(bus)
    assert (await monitor.readiness())["bus"] == "up"
    bus.up, bus.lag = False, 2.5
    assert (await monitor.readiness())["bus"] == "down"
    families = {each.name: each.samples[0].value for each in text_string_to_metric_families(monitor.render()) if each.samples}
    assert (families["dhtwisted_bus_up"], families["dhtwisted_bus_lag_seconds"]) == (0, 2.5)


def test_labels_are_escaped():
    text = family("a", "gauge", "A.", [({"b": 'x"\\\n'}, 1)])
    (parsed,) = text_string_to_metric_families(text)
    assert parsed.samples[0].labels == {"b": 'x"\\\n'}


@pytest.mark.parametrize("settings", [replace(SETTINGS, mqtt=MqttSettings(listen=LOOPBACK))], ids=["with MQTT"])
@pytest_twisted.ensureDeferred
async def test_the_dashboard_asks_for_nothing_that_is_not_there(reactor, service):
    dashboard = json.loads((Path(__file__).parents[2] / "conf" / "grafana-dashboard.json").read_text())
    _, body = await get(reactor, service.monitor_addresses[0], "/metrics")
    names = set(re.findall(r"^# TYPE (\S+)", body.decode(), re.MULTILINE))
    names |= {
        f"{name}_{part}"
        for name in re.findall(r"^# TYPE (\S+) histogram", body.decode(), re.MULTILINE)
        for part in ("bucket", "sum", "count")
    }
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked = set(re.findall(r"\b(?:dhtwisted|process)_\w+", " ".join(queries)))
    assert asked
    assert asked - names == set()
    assert {name for name in names if name.startswith("dhtwisted_mqtt_")} - asked == {"dhtwisted_mqtt_retained_bytes"}
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
async def test_a_server_that_stops_is_not_ready(reactor, closing, service):
    stopped = service.stopService()
    status, body = await get(reactor, service.monitor_addresses[0], "/health/ready")
    closing.callback(None)
    await stopped
    assert (status, json.loads(body)["listening"]) == (503, "down")


@pytest.mark.slow
@pytest.mark.lowest
@pytest_twisted.ensureDeferred
async def test_a_storage_that_hangs_makes_the_server_not_ready(reactor, service, monkeypatch):
    hanging = Deferred()
    monkeypatch.setattr(MemoryStorage, "get", lambda self, kind, key: hanging)
    status, body = await get(reactor, service.monitor_addresses[0], "/health/ready")
    hanging.callback(None)
    assert (status, json.loads(body)) == (503, {"storage": "down", "bus": "up", "listening": "up"})

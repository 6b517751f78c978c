"""The service: what listens when it has started, and what is left when it has stopped or failed."""

import socket
import stat

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Protocol
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogLevel, capturedLogs

from dhtwisted.config.mqtt import MqttSettings
from dhtwisted.config.mqtt_tables import AccessRule, TopicMapping
from dhtwisted.config.settings import AuthSettings, BusSettings, ServerSettings, Settings, StorageSettings
from dhtwisted.config.topic_templates import Template
from dhtwisted.errors import ConfigurationError
from dhtwisted.kit.provider import Provider
from dhtwisted.model import User
from dhtwisted.providers import lookup as providers
from dhtwisted.providers.local_bus import LocalBus
from dhtwisted.providers.memory import MemoryStorage
from dhtwisted.providers.sqlite.storage import FileStorage
from dhtwisted.service.closing import STOP_BOUND
from dhtwisted.service.service import DeviceHiveService
from dhtwisted.wire.mqtt.packets import Disconnect, Properties, Publish, Subscribe, Subscription
from tests.support import raw
from tests.support.mqtt.listening import MqttPeer

LOOPBACK = "tcp:0:interface=127.0.0.1"


def configured(storage="memory:", listen=(LOOPBACK,), messages="", bus="local:", mqtt=None, **auth):
    auth = {"admin_password": "swordfish", "password_cost": 10} | auth
    return Settings(
        storage=StorageSettings(provider=storage, messages=messages),
        server=ServerSettings(listen=listen),
        bus=BusSettings(provider=bus),
        auth=AuthSettings(**auth),
        mqtt=MqttSettings(**(mqtt or {})),
    )


@pytest.fixture
def make_service(reactor):
    """Make services; what is still running at the end is stopped."""
    services = []

    def make(settings, **options):
        services.append(DeviceHiveService(reactor, settings, **options))
        return services[-1]

    yield make
    for service in services:
        pytest_twisted.blockon(maybeDeferred(service.stopService))


async def start(service):
    service.startService()
    return await service.started


async def accepts(reactor, address):
    """Say whether something listens there."""
    try:
        protocol = await connectProtocol(HostnameEndpoint(reactor, *address), Protocol())
    except ConnectError:
        return False
    protocol.transport.abortConnection()
    return True


def criticals(logs):
    return [event for event in logs if event["log_level"] is LogLevel.critical]


class RecordingProcess:
    """Notes what the service tells its process."""

    def __init__(self):
        self.told = []

    def starting(self, connections, reload):
        self.told.append("starting")
        self.reload = reload

    def started(self, status):
        self.told.append("started")
        self.status = status

    def failed(self):
        self.told.append("failed")

    def stopping(self):
        self.told.append("stopping")

    def stopped(self):
        self.told.append("stopped")


@pytest_twisted.ensureDeferred
async def test_every_endpoint_listens_until_the_stop(reactor, make_service):
    process = RecordingProcess()
    service = make_service(configured(listen=(LOOPBACK, LOOPBACK)), process=process)
    with capturedLogs() as logs:
        assert await start(service)
    assert len(set(service.addresses)) == 2
    for host, port in service.addresses:
        assert await accepts(reactor, (host, port))
        assert [event for event in logs if event.get("log_format", "").startswith("Listening") and event["place"] == f"{host}:{port}"]
    await service.stopService()
    for address in service.addresses:
        assert not await accepts(reactor, address)
    assert process.told == ["starting", "started", "stopping", "stopped"]
    assert process.status == "Listening on " + ", ".join(f"{host}:{port}" for host, port in service.addresses)


@pytest_twisted.ensureDeferred
async def test_a_unix_socket_is_an_endpoint_too(make_service, tmp_path):
    service = make_service(configured(listen=(f"unix:{tmp_path}/socket",)))
    assert await start(service)
    ((path, port),) = service.addresses
    assert (path, port) == (f"{tmp_path}/socket", None)


@pytest_twisted.ensureDeferred
async def test_listening_unencrypted_for_everybody_is_warned_of(make_service):
    with capturedLogs() as logs:
        assert await start(make_service(configured(listen=("tcp:0",))))
        assert await start(make_service(configured()))
    assert len([event for event in logs if "unencrypted" in event.get("log_format", "")]) == 1


@pytest_twisted.ensureDeferred
async def test_a_taken_port_closes_everything_again(reactor, make_service, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        endpoint = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
        process = RecordingProcess()
        service = make_service(configured(f"file:{tmp_path}/data", (LOOPBACK, endpoint)), process=process)
        with capturedLogs() as logs:
            assert not await start(service)
    (line,) = criticals(logs)
    assert line["reason"].startswith(f"server.listen: {endpoint}: another program listens there; stop it, or choose another port")
    assert "\n" not in line["reason"]
    assert not await accepts(reactor, service.addresses[0])
    assert process.told == ["starting", "failed"]
    assert await start(make_service(configured(f"file:{tmp_path}/data"))), "the file was let go of"


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (configured("file:/nowhere/at/all/data"), "/nowhere/at/all"),
        (configured(messages="file:/nowhere/at/all/data"), "/nowhere/at/all"),
        (configured(secret_file="/nowhere/key"), "/nowhere/key"),
        (configured(secret="secret"), "everybody knows"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_somebody_can_mend_is_one_line_in_the_log(make_service, settings, words):
    with capturedLogs() as logs:
        service = make_service(settings)
        assert not await start(service)
    (line,) = criticals(logs)
    assert words in line["reason"]
    assert "log_failure" not in line
    assert service.addresses == []


class PickyBus(LocalBus):
    """Fits nothing."""

    async def start(self, receive, changed):
        raise ConfigurationError("bus.provider: this bus does not fit\nthe storage")


def open_picky(argument, context):
    raise ConfigurationError("bus.provider: this bus does not fit\nthe storage")


@pytest.mark.parametrize("build", [open_picky, lambda argument, context: PickyBus()], ids=["when opened", "when started"])
@pytest_twisted.ensureDeferred
async def test_a_bus_that_does_not_fit_ends_the_start_in_one_line(make_service, monkeypatch, build):
    declare(monkeypatch, build, role="bus")
    with capturedLogs() as logs:
        service = make_service(configured(bus="test:"))
        assert not await start(service)
    (line,) = criticals(logs)
    assert line["reason"] == "bus.provider: this bus does not fit the storage"
    assert "log_failure" not in line
    assert service.addresses == []


@pytest_twisted.ensureDeferred
async def test_a_bus_is_shown_the_opened_storages(make_service, monkeypatch, tmp_path):
    shown = []

    def build(argument, context):
        shown.append((context.storage, context.messages))
        return LocalBus()

    declare(monkeypatch, build, role="bus")
    assert await start(make_service(configured(bus="test:")))
    assert await start(make_service(configured(bus="test:", messages=f"file:{tmp_path}/messages")))
    (storage, same), (_, messages) = shown
    assert storage is same
    assert isinstance(messages, FileStorage)
    assert await messages.append(()) is None


@pytest_twisted.ensureDeferred
async def test_a_defect_is_logged_with_its_traceback(make_service, monkeypatch):
    declare(monkeypatch, lambda argument, context: 1 / 0)
    with capturedLogs() as logs:
        assert not await start(make_service(configured("test:")))
    (line,) = criticals(logs)
    assert line["log_failure"].check(ZeroDivisionError)


@pytest_twisted.ensureDeferred
async def test_a_stop_in_the_middle_of_the_start_leaves_nothing(make_service, tmp_path):
    process = RecordingProcess()
    service = make_service(configured(f"file:{tmp_path}/data"), process=process)
    service.startService()
    assert not service.started.called, "else this test shows nothing"
    await service.stopService()
    assert "failed" not in process.told
    assert await start(make_service(configured(f"file:{tmp_path}/data")))


@pytest_twisted.ensureDeferred
async def test_stopping_twice_or_before_the_start_does_no_harm(make_service):
    service = make_service(configured())
    await service.stopService()
    assert await start(service)
    await service.stopService()
    await service.stopService()


@pytest_twisted.ensureDeferred
async def test_data_outlives_a_restart(make_service, tmp_path):
    settings = configured(f"file:{tmp_path}/data")
    for _ in range(2):
        service = make_service(settings)
        assert await start(service)
        await service.stopService()
    assert (tmp_path / "devicehive.secret").exists()


@pytest_twisted.ensureDeferred
async def test_messages_may_have_a_storage_of_their_own(make_service, tmp_path):
    assert await start(make_service(configured(f"file:{tmp_path}/entities", messages=f"file:{tmp_path}/messages")))
    assert (tmp_path / "entities").exists()
    assert (tmp_path / "messages").exists()


@pytest_twisted.ensureDeferred
async def test_a_daemon_writes_the_first_password_to_a_file(make_service, tmp_path, capfd):
    with capturedLogs() as logs:
        assert await start(make_service(configured(f"file:{tmp_path}/data", admin_password=""), foreground=False))
    path = tmp_path / "devicehive.password"
    login, password = path.read_text().split()
    assert login == "dhadmin"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert password not in repr(logs)
    assert password not in capfd.readouterr().out


@pytest_twisted.ensureDeferred
async def test_a_daemon_that_forgets_everything_wants_a_password(make_service):
    with capturedLogs() as logs:
        assert not await start(make_service(configured(admin_password=""), foreground=False))
    assert "auth.admin_password" in criticals(logs)[0]["reason"]


@pytest_twisted.ensureDeferred
async def test_a_terminal_shows_the_first_password_past_the_log(make_service, capfd):
    with capturedLogs() as logs:
        assert await start(make_service(configured(admin_password="")))
    (line,) = [line for line in capfd.readouterr().out.splitlines() if line.startswith("First start: ")]
    password = line.partition("password ")[2].split()[0]
    assert len(password) >= 20
    assert password not in repr(logs)


def declare(monkeypatch, build, role="storage"):
    """Declare a provider ``test:`` for one test."""
    provider = Provider(role, "test", "for a test", "", build)
    monkeypatch.setattr(providers, "PROVIDERS", (*providers.PROVIDERS, provider))


class JammedStorage(MemoryStorage):
    """Its disk never answers when it is to be closed, or when it is to be opened."""

    jams = "close"

    async def open(self):
        await self.insert(User(id=1, login="dhadmin"))
        if self.jams == "open":
            await Deferred()

    async def close(self):
        if self.jams == "close":
            await Deferred()


def test_a_stop_is_over_within_its_bound_whatever_hangs(monkeypatch):
    reactor = MemoryReactorClock()
    declare(monkeypatch, lambda argument, context: JammedStorage(context.reactor))
    service = DeviceHiveService(reactor, configured("test:"))
    service.startService()
    assert service.started.called
    stopped = service.stopService()
    assert not stopped.called
    reactor.pump([0.1] * int(STOP_BOUND * 10 + 1))
    assert stopped.called


def test_a_start_that_hangs_is_given_up_for_a_stop(monkeypatch):
    reactor = MemoryReactorClock()
    declare(monkeypatch, lambda argument, context: JammedStorage(context.reactor))
    monkeypatch.setattr(JammedStorage, "jams", "open")
    service = DeviceHiveService(reactor, configured("test:"))
    service.startService()
    stopped = service.stopService()
    assert not stopped.called
    reactor.pump([0.1] * int(STOP_BOUND * 10 + 1))
    assert stopped.called
    assert reactor.tcpServers == []


@pytest_twisted.ensureDeferred
async def test_what_fails_to_close_does_not_keep_others_open(reactor, make_service, monkeypatch):
    class Unclosable(MemoryStorage):
        async def close(self):
            raise OSError("cannot")

    declare(monkeypatch, lambda argument, context: Unclosable(context.reactor))
    service = make_service(configured("test:"))
    assert await start(service)
    with capturedLogs() as logs:
        await service.stopService()
    assert [event["part"] for event in criticals(logs)] == ["storage"]
    assert not await accepts(reactor, service.addresses[0])


# MQTT

EVERYBODY = AccessRule(who="*", publish=("#",), subscribe=("#",))
MQTT = {"listen": (LOOPBACK,), "plain_topics": True, "anonymous": True, "access": (EVERYBODY,)}


async def mqtt_peer(reactor, service, **fields):
    """A client of the service that is connected."""
    peer = MqttPeer(await raw.connect(reactor, service._startup.listeners.mqtt_addresses[0][1]))
    assert (await peer.connect(**fields)).reason_code == 0
    return peer


@pytest_twisted.ensureDeferred
async def test_mqtt_listens_and_stops(reactor, make_service):
    service = make_service(configured(mqtt=MQTT))
    assert await start(service)
    ((_, port),) = service._startup.listeners.mqtt_addresses
    peer = await mqtt_peer(reactor, service)
    assert (await service._startup.state())["mqttAddresses"] == [f"127.0.0.1:{port}"]
    await service.stopService()
    (packet,) = await peer.until_closed()
    assert packet.reason_code == 0x8B
    assert not await accepts(reactor, ("127.0.0.1", port))


@pytest_twisted.ensureDeferred
async def test_sessions_and_retained_messages_of_mqtt_outlive_a_restart(reactor, make_service, tmp_path):
    settings = configured(f"file:{tmp_path / 'hive.sqlite'}", mqtt=MQTT)
    service = make_service(settings)
    assert await start(service)
    properties = Properties(session_expiry_interval=1000)
    sleeper = await mqtt_peer(reactor, service, client_id="sleeper", properties=properties)
    sleeper.send(Subscribe(1, [Subscription("a", 1)]))
    await sleeper.packet()
    sleeper.send(Disconnect())
    await sleeper.until_closed()
    speaker = await mqtt_peer(reactor, service, client_id="speaker")
    speaker.send(Publish("a", b"queued", 1, packet_id=1), Publish("b", b"kept", 1, packet_id=2, retain=True))
    assert [(await speaker.packet()).packet_id for _ in range(2)] == [1, 2]
    await service.stopService()
    service = make_service(settings)
    assert await start(service)
    sleeper = MqttPeer(await raw.connect(reactor, service._startup.listeners.mqtt_addresses[0][1]))
    answer = await sleeper.connect("sleeper", clean_start=False, properties=properties)
    assert answer.session_present
    assert (await sleeper.packet()).payload == b"queued"
    sleeper.send(Subscribe(2, [Subscription("b", 0)]))
    packets = [await sleeper.packet() for _ in range(2)]
    assert [packet.payload for packet in packets if isinstance(packet, Publish)] == [b"kept"]


@pytest_twisted.ensureDeferred
async def test_a_reload_changes_what_clients_of_mqtt_may_do(reactor, make_service):
    read = [configured(mqtt=MQTT)]
    service = make_service(read[0], read_settings=lambda: read[0])
    assert await start(service)
    peer = await mqtt_peer(reactor, service)
    peer.send(Subscribe(1, [Subscription("a", 0), Subscription("b", 0)]), Publish("a", b"1"))
    assert [(await peer.packet()) for _ in range(2)][1].payload == b"1"
    read[0] = configured(
        mqtt=MQTT | {"access": (AccessRule(who="*", publish=("#",), subscribe=("b",)),), "sessions": 5, "websocket": "off"}
    )
    with capturedLogs() as captured:
        assert service.reload()
    texts = [event["options"] for event in captured if "options" in event]
    assert texts == ["mqtt.sessions, mqtt.access", "mqtt.websocket"]
    peer.send(Publish("a", b"2"), Publish("b", b"3"))
    assert (await peer.packet()).payload == b"3"
    peer.send(Disconnect())
    await peer.until_closed()


@pytest_twisted.ensureDeferred
async def test_a_reload_changes_mappings_levels_last_values_and_the_interval_of_sys(reactor, make_service):
    read = [configured(mqtt=MQTT)]
    service = make_service(read[0], read_settings=lambda: read[0])
    assert await start(service)
    peer = await mqtt_peer(reactor, service, user_name="dhadmin", password=b"swordfish")
    mapping = TopicMapping(
        topic=Template("tele/{deviceId}/{name}"),
        kind="notification",
        device_id=Template("{deviceId}"),
        name=Template("{name}"),
        create_devices=True,
        network_id=0,
        device_type_id=0,
    )
    peer.send(Publish("tele/plug/state", b"on", 1, packet_id=1), Publish("a/b/c/d/e/f/g/h", b"", 1, packet_id=2))
    assert [(await peer.packet()).reason_code for _ in range(2)] == [0x10, 0x10]
    read[0] = configured(mqtt=MQTT | {"map": (mapping,), "topic_levels": 7, "last_values": False, "sys_interval": 0.0})
    with capturedLogs() as captured:
        assert service.reload()
    texts = [event["options"] for event in captured if "options" in event]
    assert texts == ["mqtt.last_values, mqtt.topic_levels, mqtt.sys_interval, mqtt.map"]
    peer.send(Publish("tele/plug/state", b"on", 1, packet_id=1), Publish("a/b/c/d/e/f/g/h", b"", 1, packet_id=2))
    assert [(await peer.packet()).reason_code for _ in range(2)] == [0, 0x90]
    peer.send(Subscribe(3, [Subscription("dh/notification/+/+/plug/#", 0), Subscription("$SYS/#", 0)]))
    assert (await peer.packet()).reason_codes == [0, 0]
    peer.send(Publish("tele/plug/state", b"off", 1, packet_id=4))
    packets = [await peer.packet() for _ in range(2)]
    (event,) = [packet for packet in packets if type(packet) is Publish]
    assert not event.retain
    assert b'"off"' in event.payload
    peer.send(Disconnect())
    await peer.until_closed()

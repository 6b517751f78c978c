"""What MQTT costs: plain topics beside Mosquitto, the topics of devices, idle connections, and filters of others."""

from bench.figures import SERVER_CPU, Row
from bench.generator import PARAMETERS, mqtt_load
from bench.plan import Task
from bench.rows.connections import crowd, idle, other_devices
from bench.rows.stored import cost
from bench.rows.throughput import FAN, ONE, figures

EVENTS = {"topic": "dh/notification///d1/temperature", "sub_topic": "dh/notification/+/+/d1/+"}
OWN_EVENTS = "dh/notification/+/+/o-{d}/+"
OTHERS = "t/other-{d}/+"
"""Filters beside those of the load, whose topic begins with the same level."""

FAN_0 = FAN | {"qos": 0, "flow": "deliver"}
SERIAL = 10
"""Digits that the generator writes for ``{n}``."""


def reading():
    """The parameters of a notification, filled up to the bytes that all sides carry."""
    missing = _length(mqtt_load()["payload"]) - _length(PARAMETERS) - len(',"text":""')
    return f'{PARAMETERS.removesuffix("}")},"text":"{missing * "."}"}}'


def _length(payload):
    return len(payload.replace("{n}", SERIAL * "0"))


def as_client(server):
    """Options for connections to this server's MQTT, as the client of :meth:`~bench.servers.DeviceHive.prepare`."""
    return {"port": server.mqtt_port, "login": "benchmark", "password": server.token}


def deliveries(result):
    """What the row of QoS 0 needs of a run's result: nothing is answered there."""
    return {"deliveries": result["deliveries_per_s"], SERVER_CPU: result["server_cpu"], "generator cpu": result["gen_cpu"]}


def on_hive(storage, options, read=figures):
    """Make the run of a task: this server with a new storage.

    :param read: what takes the figures out of the result.
    """

    def run(bench):
        with bench.hive(storage, mqtt=True) as server:
            server.prepare()
            return read(bench.load(server, **mqtt_load(**options, **as_client(server))))

    return run


def on_mosquitto(options, read=figures):
    """Make the run of a task: Mosquitto."""

    def run(bench):
        with bench.mosquitto() as server:
            return read(bench.load(server, **mqtt_load(**options)))

    return run


def idle_mqtt(bench):
    """This server, each connection with one subscription to a device of its own, as in the row of WebSocket."""
    with bench.hive(mqtt=True) as server:
        server.prepare(other_devices(bench.sizes.connections))
        return idle(bench, server, bench.sizes.hold, proto="mqtt", sub_topic=OWN_EVENTS, **as_client(server))


def filters_none(bench):
    """Plain topics on a new server."""
    with bench.hive(mqtt=True) as server:
        return _plain_cost(bench, server.prepare())


def filters_many(bench):
    """The same with many other connections, each with a filter of its own."""
    count = bench.sizes.connections
    with bench.hive(mqtt=True) as server:
        # They are of another user: one may have no more than 10,000 connections.
        server.prepare((), login="others")
        with crowd(bench, server, count, proto="mqtt", sub_topic=OTHERS, **as_client(server)):
            return _plain_cost(bench, server.prepare())


def _plain_cost(bench, server):
    return cost(bench, server, **mqtt_load(**ONE, **as_client(server)))


TASKS = (
    Task("mqtt plain memory", on_hive("memory:", ONE)),
    Task("mqtt plain mosquitto", on_mosquitto(ONE)),
    Task("mqtt events memory", on_hive("memory:", ONE | EVENTS | {"payload": reading()})),
    Task("mqtt events file", on_hive("file:", ONE | EVENTS | {"payload": reading()})),
    Task("mqtt fan memory", on_hive("memory:", FAN_0, deliveries)),
    Task("mqtt fan mosquitto-0", on_mosquitto(FAN_0, deliveries)),
    Task("mqtt idle memory", idle_mqtt, seldom=True),
    Task("mqtt filters many", filters_many, seldom=True),
    Task("mqtt filters none", filters_none, seldom=True),
)

_ONE = "MQTT, QoS 1, 8 publishers x 16 in flight"

ROWS = (
    Row("mqtt-plain", f"{_ONE}, plain topic", "requests", "mqtt plain memory", "mqtt plain mosquitto", 0.7, 1.2),
    Row("mqtt-dh", f"{_ONE}, dh/notification, memory", "inserts", "mqtt events memory", "mqtt plain mosquitto", 0.6, 1),
    Row("mqtt-dh-file", f"{_ONE}, dh/notification, file", "inserts", "mqtt events file", "mqtt plain mosquitto", 0.35, 0.7),
    Row(
        "mqtt-fan",
        "MQTT, QoS 0, 1 publisher, 100 subscribers, plain topic",
        "deliveries",
        "mqtt fan memory",
        "mqtt fan mosquitto-0",
        2,
        4,
    ),
    Row("mqtt-idle", "memory per idle connection, MQTT, 1 subscription", "kilobytes", "mqtt idle memory", "idle memory", 1.2, 1),
    Row(
        "mqtt-filters", "CPU time per MQTT message, filters of others", "microseconds", "mqtt filters many", "mqtt filters none", 1.2, 1.05
    ),
)

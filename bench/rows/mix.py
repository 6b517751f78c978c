"""A mix as in the field: gateways with five devices each that mostly send readings, answer some commands, and ask for lists."""

from bench.figures import Missing, Row
from bench.generator import PARAMETERS, hive_load, mqtt_load
from bench.plan import Task
from bench.rows.connections import other_devices
from bench.rows.throughput import figures

DEVICES, GATEWAYS = 10_000, 2_000
RATE = 5_000
STORED = 10
"""Messages of each device before the run, so that a list has something in it."""

LISTED = 10
TRAFFIC = {"mode": "rate", "rate": RATE, "pubs": GATEWAYS, "subs": 1, "devices": DEVICES, "to_all": True}
_DEVICE = '"deviceId":"o-{d}"'
COMMAND = f'{{"action":"command/insert","requestId":"{{n}}",{_DEVICE},"command":{{"command":"set","parameters":{PARAMETERS}}}}}'
UPDATE = (
    f'{{"action":"command/update","requestId":"u{{n}}",{_DEVICE},"commandId":{{i}},"command":{{"status":"done","result":{{"ok":true}}}}}}'
)
LIST = f'{{"action":"notification/list","requestId":"{{n}}",{_DEVICE},"take":{LISTED},"sortField":"timestamp","sortOrder":"DESC"}}'
MIXED = {"command": COMMAND, "update": UPDATE, "ask": LIST, "command_event": '"action":"command/insert"'}


def on_hive(bench, **mixed):
    """This server in memory, with messages stored; one subscriber gets the readings of all devices, each device its commands."""
    _need_connections(bench)
    with bench.hive() as server:
        server.prepare(other_devices(DEVICES))
        _fill(bench, server)
        load = hive_load(server, device="o-{d}", subscription='"networkIds":[1],"names":["temperature"]', **TRAFFIC)
        subscribe = f'{{"action":"command/subscribe","requestId":"c",{_DEVICE}}}'
        setup = {"setup": [load["setup"], subscribe], "own_devices": True}
        return _figures(bench.load(server, **load | setup | mixed))


def _need_connections(bench):
    if bench.sizes.connections < GATEWAYS:
        raise Missing(f"{GATEWAYS:,} connections are needed, and this machine permits {bench.sizes.connections:,}: raise ulimit -Hn")


def _fill(bench, server):
    options = {"pubs": 8, "subs": 0, "window": 16, "flow": "ack", "devices": DEVICES, "requests": DEVICES * STORED}
    bench.generator.run(server, **hive_load(server, device="o-{d}", **options), warm=0, secs=60)


def mixed(bench):
    """90 % readings, 5 % commands with their updates, 5 % lists."""
    return on_hive(bench, **MIXED)


def plain(bench):
    """The readings alone, as many requests per second."""
    return on_hive(bench)


def on_mosquitto(bench):
    """The readings alone, with a topic for each device."""
    _need_connections(bench)
    with bench.mosquitto() as server:
        topics = {"topic": "t/{d}", "sub_topic": "t/+"}
        return _figures(bench.load(server, **mqtt_load(**TRAFFIC, **topics)))


def _figures(result):
    requests = result["acks_per_s"] + result["updates_per_s"]
    return figures(result) | {
        "requests per core": requests / result["server_cpu"],
        # At a steady rate it watches the clock, and is always busy.
        "generator cpu": 0,
        "megabytes": result["server_rss_kb"] / 1024,
        "asked": RATE,
    }


TASKS = (
    Task("mix", mixed, seldom=True),
    Task("mix readings", plain, seldom=True),
    Task("mix readings mosquitto", on_mosquitto, seldom=True),
)

_MIX = "2,000 gateways, 10,000 devices"

ROWS = (
    Row("mix-cpu", f"{_MIX}: readings, commands, lists", "requests per core", "mix", "mix readings"),
    Row("mix-mosquitto", f"{_MIX}: readings alone", "requests per core", "mix readings", "mix readings mosquitto"),
    Row("mix-p50", f"reply p50 of the mix at {RATE:,}/s", "p50", "mix", "mix readings"),
    Row("mix-p99", f"reply p99 of the mix at {RATE:,}/s", "p99", "mix", "mix readings"),
    Row("mix-memory", "memory of the server with the mix", "megabytes", "mix", "mix readings"),
)

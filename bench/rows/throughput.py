"""How much goes through: memory and file beside the echo of Autobahn, and Mosquitto."""

from bench.figures import SERVER_CPU, Row
from bench.generator import echo_load, hive_load, mqtt_load
from bench.plan import Task

ONE = {"pubs": 8, "subs": 1, "window": 16}
SINGLE = {"pubs": 8, "subs": 1, "window": 1}
DEEP = {"pubs": 8, "subs": 1, "window": 128}
FAN = {"pubs": 1, "subs": 100, "window": 4}


def figures(result):
    """What rows need of a run's result."""
    return {
        "inserts": result["acks_per_s"],
        "requests": result["acks_per_s"],
        "deliveries": result["deliveries_per_s"],
        "p50": result["ack_us"]["p50"] / 1000,
        "p99": result["ack_us"]["p99"] / 1000,
        SERVER_CPU: result["server_cpu"],
        "generator cpu": result["gen_cpu"],
    }


def on_hive(storage, options):
    """Make the run of a task: this server with a new storage."""

    def run(bench):
        with bench.hive(storage) as server:
            return figures(bench.load(server.prepare(), **hive_load(server, **options)))

    return run


def on_echo(options):
    """Make the run of a task: Autobahn's echo, which has no subscribers."""

    def run(bench):
        with bench.echo() as server:
            return figures(bench.load(server, **echo_load(**options | {"subs": 0})))

    return run


def on_mosquitto(options):
    """Make the run of a task: Mosquitto."""

    def run(bench):
        with bench.mosquitto() as server:
            return figures(bench.load(server, **mqtt_load(**options)))

    return run


TASKS = (
    Task("one memory", on_hive("memory:", ONE)),
    Task("one echo", on_echo(ONE)),
    Task("one mosquitto", on_mosquitto(ONE)),
    Task("file 16", on_hive("file:", ONE)),
    Task("file 128", on_hive("file:", DEEP)),
    Task("single memory", on_hive("memory:", SINGLE)),
    Task("single echo", on_echo(SINGLE)),
    Task("fan memory", on_hive("memory:", FAN)),
    Task("fan mosquitto", on_mosquitto(FAN)),
)

_ONE = "8 publishers x 16 in flight"

ROWS = (
    Row("one-echo", f"{_ONE}, memory", "inserts", "one memory", "one echo", 3.5, 5),
    Row("one-mosquitto", f"{_ONE}, memory", "inserts", "one memory", "one mosquitto", 1.4, 2),
    Row("single", "8 publishers x 1 in flight, memory", "inserts", "single memory", "single echo", 1.8, 2.4),
    Row("fan", "1 publisher, 100 subscribers, memory", "deliveries", "fan memory", "fan mosquitto", 3, 5),
    Row("file-16", f"{_ONE}, file", "inserts", "file 16", "one echo", 1.4, 2),
    Row("file-128", "8 x 128 in flight, file (echo 8 x 16)", "inserts", "file 128", "one echo", 1.7, 2.5),
)

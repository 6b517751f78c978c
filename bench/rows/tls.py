"""What TLS costs: inserts beside those in clear and beside Mosquitto with TLS, connections that open, and those that are idle."""

from bench.figures import Row
from bench.generator import hive_load, mqtt_load
from bench.plan import Task
from bench.rows.throughput import ONE, SINGLE, figures


def _with_cost(result):
    return figures(result) | {"microseconds": result["server_cpu"] / result["acks_per_s"] * 1e6}


def _inserts(options, tls):
    """Make the run of a task: inserts into a server in memory that listens both ways."""

    def run(bench):
        with bench.hive(tls=True) as server:
            load = hive_load(server.prepare(), **options)
            return _with_cost(bench.load(server, **load, **_way(server, tls)))

    return run


def _way(server, tls):
    """Options that choose the port of a server."""
    return {"port": server.tls_port, "tls": True} if tls else {}


def _mosquitto(bench):
    with bench.mosquitto(tls=True) as server:
        return figures(bench.load(server, **mqtt_load(**ONE), tls=True))


def _idle(bench, server, **options):
    """Connections that are only there; their cost is that of opening them."""
    count = bench.sizes.connections
    before = server.cpu_seconds()
    result = bench.generator.run(server, mode="idle", pubs=0, subs=count, devices=1, hold=0.1, **options)
    spent = server.cpu_seconds() - before
    return {"kilobytes": result["kb_per_conn"], "microseconds": spent / count * 1e6, "opens": result["opens_per_s"]}


def _opens(tls):
    """Make the run of a task: connections to this server that authenticate and subscribe, as devices do."""

    def run(bench):
        with bench.hive(tls=True) as server:
            load = hive_load(server.prepare())
            setup = {name: load[name] for name in ("path", "sub_setup", "setup_ok")}
            return _idle(bench, server, **setup, **_way(server, tls))

    return run


def _echo(bench):
    with bench.echo(tls=True) as server:
        return _idle(bench, server, tls=True)


TASKS = (
    Task("one tls", _inserts(ONE, True)),
    Task("one tls clear", _inserts(ONE, False)),
    Task("one tls mosquitto", _mosquitto),
    Task("single tls", _inserts(SINGLE, True)),
    Task("single tls clear", _inserts(SINGLE, False)),
    Task("opens tls", _opens(True), seldom=True),
    Task("opens tls clear", _opens(False), seldom=True),
    Task("idle tls echo", _echo, seldom=True),
)

ROWS = (
    Row("tls-one", "CPU time of an insert over TLS, 8 x 16 in flight", "microseconds", "one tls", "one tls clear", 1.3, 1.15),
    Row("tls-single", "CPU time of an insert over TLS, 8 x 1 in flight", "microseconds", "single tls", "single tls clear"),
    Row("tls-mosquitto", "8 publishers x 16 in flight, TLS, memory", "inserts", "one tls", "one tls mosquitto"),
    Row("tls-opens", "CPU time to open and authenticate, TLS", "microseconds", "opens tls", "opens tls clear"),
    Row("tls-idle", "memory per idle connection over TLS, 1 subscription", "kilobytes", "opens tls", None, 24, 16),
    Row("tls-idle-echo", "the same beside bare Autobahn with TLS", "kilobytes", "opens tls", "idle tls echo"),
)

"""How soon a reply is there at a steady rate: in memory beside Mosquitto; durable beside PostgreSQL and JetStream, durable too."""

import secrets

from bench.figures import Row
from bench.generator import PARAMETERS, nats_load
from bench.plan import Task
from bench.postgres import TABLE
from bench.rows.durable import postgres
from bench.rows.throughput import figures, on_hive, on_mosquitto

STEADY = {"mode": "rate", "rate": 2000, "pubs": 8, "subs": 1}
ALONE = STEADY | {"subs": 0, "flow": "ack"}
INSERT = "INSERT INTO reading (device_id, at, name, parameters) VALUES ('d1', 1790000000000, 'temperature', $1)"


def on_postgres(bench):
    """A plain client of PostgreSQL: one prepared statement on each connection, each execution a transaction."""
    with postgres(bench) as database:
        name = f"latency_{secrets.token_hex(4)}"
        database.new_database(name)
        database.execute(TABLE, name)
        options = {"proto": "postgres", "socket": database.socket, "database": name, "setup": INSERT, "payload": PARAMETERS}
        result = bench.load(None, **options, **ALONE)
        database.must_have("reading", result["answered"], name)
    return figures(result | {"server_cpu": 0})


def on_jetstream(bench):
    """Publishing to a stream of NATS that writes each message to the disk before it acknowledges it."""
    with bench.nats() as server:
        bench.versions["NATS"] = server.version
        result = bench.load(server, **nats_load(**ALONE))
        server.must_have(result["answered"])
    return figures(result)


def steady(run):
    """Make the run of a task whose rate is known."""
    return lambda bench: run(bench) | {"asked": STEADY["rate"]}


TASKS = (
    Task("latency memory", steady(on_hive("memory:", STEADY))),
    Task("latency mosquitto", steady(on_mosquitto(STEADY))),
    Task("latency file", steady(on_hive("file:", STEADY))),
    Task("latency postgres", steady(on_postgres), seldom=True),
    Task("latency jetstream", steady(on_jetstream), seldom=True),
)

ROWS = (
    Row("latency-memory", "reply p99 at 2,000 inserts/s, memory", "p99", "latency memory", "latency mosquitto", 2, 1.2),
    Row("latency-file-postgres", "reply p99 at 2,000 inserts/s, file", "p99", "latency file", "latency postgres", 2, 1.2),
    Row("latency-file-jetstream", "reply p99 at 2,000 inserts/s, file", "p99", "latency file", "latency jetstream", 2, 1.2),
)

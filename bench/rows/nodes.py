"""Two nodes on one PostgreSQL against one node: what each gets done with a second of processor time, and on large machines the rates."""

import secrets
from contextlib import contextmanager

from bench.figures import Missing, Row
from bench.generator import hive_load
from bench.plan import Task
from bench.rows.durable import postgres

INSERTS = {"pubs": 8, "subs": 2, "window": 128, "to_all": True}
FAN = {"pubs": 2, "subs": 200, "window": 4, "to_all": True}
NEEDED = 6
"""So many cores: one for each node and the generator, and for PostgreSQL as many as it can use."""


def one_node(options):
    """Make the run of a task: everything on one node."""

    def run(bench):
        with postgres(bench) as database, bench.hive(f"postgres:{database.new_database()}") as server:
            result = bench.load(server.prepare(), **hive_load(server, **options))
            return _figures(bench, result, result["server_cpu"])

    return run


def two_nodes(options):
    """Make the run of a task: every other publisher and subscriber is at the second node."""

    def run(bench):
        with postgres(bench) as database, _nodes(bench, database) as (first, second):
            pids = ",".join(map(str, second.pids))
            load = hive_load(first.prepare(), **options)
            result = bench.load(first, **load, second_port=second.port, second_pid=pids)
            return _figures(bench, result, max(result["server_cpu"], result["second_cpu"]))

    return run


@contextmanager
def _nodes(bench, database):
    """Two nodes on a new database, each on a core of its own."""
    provider = f"postgres:{database.new_database()}"
    # They have no directory to keep a key in, and must have the same.
    settings = {"DHTWISTED_AUTH_SECRET": secrets.token_urlsafe(32), "DHTWISTED_BUS_PROVIDER": provider}
    with (
        bench.hive(provider, environment=settings) as first,
        bench.hive(provider, environment=settings, cores=bench.cores.second) as second,
    ):
        yield first, second


def _figures(bench, result, busier):
    """What rows need; rates are those of the machine, and say nothing where the nodes share cores with PostgreSQL and the generator."""
    inserts, deliveries = result["acks_per_s"], result["deliveries_per_s"]
    cores = len(bench.cores.everything)
    few = Missing(f"rates of two nodes need {NEEDED} cores, for both nodes, the generator and PostgreSQL; here are {cores}")
    enough = cores >= NEEDED
    return {
        "inserts per core": inserts / busier,
        "deliveries per core": deliveries / busier,
        "inserts": inserts if enough else few,
        "deliveries": deliveries if enough else few,
        "generator cpu": result["gen_cpu"],
    }


TASKS = (
    Task("nodes insert two", two_nodes(INSERTS), seldom=True),
    Task("nodes insert one-node", one_node(INSERTS), seldom=True),
    Task("nodes fan two", two_nodes(FAN), seldom=True),
    Task("nodes fan one-node", one_node(FAN), seldom=True),
)

_INSERT, _FAN = "8 publishers x 128, 2 nodes, PostgreSQL", "200 subscribers, 2 nodes, PostgreSQL"

ROWS = (
    Row("nodes-insert", f"{_INSERT}, busier node", "inserts per core", "nodes insert two", "nodes insert one-node"),
    Row("nodes-insert-rate", _INSERT, "inserts", "nodes insert two", "nodes insert one-node"),
    Row("nodes-fan", f"{_FAN}, busier node", "deliveries per core", "nodes fan two", "nodes fan one-node"),
    Row("nodes-fan-rate", _FAN, "deliveries", "nodes fan two", "nodes fan one-node"),
)

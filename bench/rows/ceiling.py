"""How much the generator itself can do: far more than any server, or its figures would be its own."""

from bench.figures import Row
from bench.plan import Task
from bench.rows.throughput import ONE


def ceiling(bench):
    """The generator against a server in C that comes with it, and does nothing but to answer and deliver."""
    (core,) = bench.cores.server
    result = bench.load(None, mode="self", echo_cpu=core, flow="both", **ONE)
    return {"inserts": result["acks_per_s"]}


TASKS = (Task("ceiling", ceiling, seldom=True, ours=False),)

ROWS = (Row("ceiling", "the load generator alone, 8 x 16 in flight", "inserts", "ceiling", "one memory"),)

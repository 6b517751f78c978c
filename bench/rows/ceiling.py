"""How much the generator itself can do: far more than any server, or its figures would be its own."""

from bench.figures import Row
from bench.plan import Task
from bench.rows.throughput import ONE


def ceiling(bench):
    """The generator against an echo server in C, which comes with it."""
    (core,) = bench.cores.server
    result = bench.load(None, mode="self", echo_cpu=core, pubs=ONE["pubs"], window=ONE["window"])
    return {"inserts": result["acks_per_s"]}


TASKS = (Task("ceiling", ceiling, seldom=True),)

ROWS = (Row("ceiling", "the load generator with an echo in C", "inserts", "ceiling", "one memory"),)

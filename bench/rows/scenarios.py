"""Other shapes of traffic on this server in memory, without a target."""

from bench.figures import Row
from bench.generator import hive_load
from bench.plan import Task
from bench.rows.connections import other_devices
from bench.rows.throughput import figures


def shape(known=("d1",), **options):
    """Make the run of a task."""

    def run(bench):
        with bench.hive() as server:
            return figures(bench.load(server.prepare(known), **hive_load(server, **options)))

    return run


OWN = 1000
SLOW = 10

TASKS = (
    Task("scenario pair", shape(pubs=1, subs=1, window=16), seldom=True),
    Task("scenario gather", shape(pubs=100, subs=1, window=4), seldom=True),
    Task("scenario own", shape(other_devices(OWN), device="o-{d}", devices=OWN, pubs=8, subs=OWN, window=16), seldom=True),
    Task("scenario network", shape(pubs=1, subs=1000, window=2, to_all=True, subscription='"networkIds":[1]'), seldom=True),
    Task("scenario slow", shape(pubs=1, subs=100, window=4, slow=SLOW, slow_bytes=10_000), seldom=True),
)

ROWS = tuple(
    Row(f"scenario-{name}", title, what, f"scenario {name}")
    for name, title, what in (
        ("pair", "1 publisher, 1 subscriber, 16 in flight", "inserts"),
        ("gather", "100 publishers x 4 in flight, 1 subscriber", "inserts"),
        ("own", "1,000 devices, each with a subscriber of its own", "deliveries"),
        ("network", "1 publisher, 1,000 subscribers of a network", "deliveries"),
        ("slow", "100 subscribers, 10 more that read 10 KB/s", "deliveries"),
    )
)

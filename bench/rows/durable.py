"""What a durable reply costs when others read at full speed, and what PostgreSQL gives, beside its own benchmark."""

from contextlib import contextmanager

from bench.figures import Row
from bench.generator import hive_load
from bench.plan import Task
from bench.postgres import Postgres
from bench.rows.throughput import DEEP, figures

READERS = {"readers": 4, "reader_window": 64}
WRITER = {"pubs": 1, "subs": 1, "window": 1}
_KEY = "postgres"


def reading(bench):
    """One insert after the other, durable, while four connections have 64 requests for the server's own state in flight each."""
    with bench.hive("file:", cores=bench.cores.two) as server:
        request = '{"action":"server/info","requestId":"{n}"}'
        return figures(bench.load(server.prepare(), **hive_load(server, **WRITER, **READERS, reader_payload=request)))


@contextmanager
def postgres(bench):
    """The PostgreSQL of this benchmark; what it still has to do for one run must not disturb the next, so it hangs in between."""
    if _KEY not in bench.found:
        server = Postgres(bench.keep_directory(), bench.cores.everything)
        bench.kept.callback(server.close)
        bench.found[_KEY] = server
        bench.versions["PostgreSQL"] = server.version
    server = bench.found[_KEY]
    server.resume()
    try:
        yield server
    finally:
        server.suspend()


def on_postgres(bench):
    """This server with everything in a new database; PostgreSQL may use all cores."""
    with postgres(bench) as database, bench.hive(f"postgres:{database.new_database()}") as server:
        return figures(bench.load(server.prepare(), **hive_load(server, **DEEP)))


def pgbench(bench):
    """One client of PostgreSQL's own benchmark."""
    with postgres(bench) as database:
        rate = database.pgbench(max(bench.sizes.secs, 1), bench.cores.generator)
    return {"inserts": rate}


TASKS = (
    Task("reading file", reading),
    Task("postgres 128", on_postgres),
    Task("postgres pgbench", pgbench),
)

ROWS = (
    Row("durable-p50", "insert p50 while others read, file, 2 cores", "p50", "reading file", None, 3, 2),
    Row("durable-p99", "insert p99 while others read, file, 2 cores", "p99", "reading file"),
    Row("postgres", "8 publishers x 128 in flight, PostgreSQL", "inserts", "postgres 128", "postgres pgbench", 6, 12),
)

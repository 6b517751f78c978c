"""What many connections cost: memory and processor of a server that has them, and time to open them."""

import os
import time
from contextlib import contextmanager

from bench.figures import Failed, Lost, Row
from bench.generator import hive_load
from bench.plan import Task

PATIENCE = 120
QUIET = 0.05
"""Share of a core below which a server has nothing left to do for new connections."""


def other_devices(count):
    """The ids of devices that only have subscribers."""
    return [f"o-{number:06d}" for number in range(count)]


@contextmanager
def crowd(bench, server, count, others=0, **options):
    """Many connections that do nothing, from the moment when all are ready until the end of the block.

    :param others: how many there are already.
    :param options: what they send first, for the generator.
    :raises Lost: not all came, or not all were still there at the end.
    """
    options = {"mode": "idle", "pubs": 0, "subs": count, "devices": count, "hold": 3600} | options
    with bench.generator.start(server, bench.new_directory(), **options) as generator:
        files = _wait_until_quiet(server, generator, others + count)
        yield
        if not generator.running or _open_files(server) < files:
            raise Lost(f"{files - _open_files(server)} idle connections; {generator.log}")


def _open_files(server):
    return len(os.listdir(f"/proc/{server.pid}/fd"))


def _wait_until_quiet(server, generator, count):
    """Wait until a server has all connections and nothing more to do; returns how many files it has open then."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and generator.running:
        used, files = server.cpu_seconds(), _open_files(server)
        time.sleep(0.5)
        if files > count and (server.cpu_seconds() - used) / 0.5 < QUIET:
            return files
    raise Failed(f"not all of {count} connections were opened: {generator.log}")


def subscribers(server, device="o-{d}"):
    """What connections send first: each has a device of its own to listen to."""
    load = hive_load(server, device=device)
    return {name: load[name] for name in ("path", "sub_setup", "setup_ok")}


def idle(bench, server, seconds, **options):
    """Open many connections to a server, and hold them.

    :param options: what they are, for the generator.
    :returns: what one costs.
    """
    count = bench.sizes.connections
    result = bench.generator.run(server, mode="idle", pubs=0, subs=count, devices=count, hold=seconds, **options)
    return {"kilobytes": result["kb_per_conn"], "cpu": result["server_cpu"] * 100, "opens": result["handshakes_per_s"]}


def idle_memory(bench):
    """This server, each connection authenticated with one subscription to a device of its own."""
    with bench.hive() as server:
        server.prepare(other_devices(bench.sizes.connections))
        return idle(bench, server, bench.sizes.hold, **subscribers(server))


def idle_echo(bench):
    """Autobahn's echo with as many connections, which say nothing."""
    with bench.echo() as server:
        return idle(bench, server, 1)


def opens_memory(bench):
    """Handshakes with this server, on the port that serves REST as well."""
    with bench.hive() as server:
        return idle(bench, server, 0.1, path="/api/websocket")


def opens_echo(bench):
    """Handshakes with Autobahn's echo."""
    with bench.echo() as server:
        return idle(bench, server, 0.1)


TASKS = (
    Task("idle memory", idle_memory, seldom=True),
    Task("idle echo", idle_echo, seldom=True),
    Task("opens memory", opens_memory, seldom=True),
    Task("opens echo", opens_echo, seldom=True),
)

ROWS = (
    Row("idle-memory", "memory per idle connection, 1 subscription", "kilobytes", "idle memory", "idle echo", 0.72, 0.6),
    Row("idle-cpu", "CPU load with these connections idle", "cpu", "idle memory"),
    Row("opens", "connections opened on the shared port", "opens", "opens memory", "opens echo", 1.4, 2),
)

"""What a connection and a message cost with ever more connections that do nothing."""

import time
from contextlib import ExitStack

from bench.generator import hive_load
from bench.plan import Task
from bench.processes import cpu_seconds
from bench.rows.connections import crowd, other_devices, subscribers
from bench.rows.throughput import ONE

OF_A_USER = 5000
"""Connections of one user: half of what they may have by default."""


def connections_task(count):
    """The task that measures one number of connections."""
    return Task(f"connections {count}", lambda bench: measure(bench, count))


def measure(bench, count):
    """Measure a server with so many connections. Each is authenticated and has a subscription to a device of its own."""
    with bench.hive() as server, ExitStack() as crowds:
        groups = [_prepare(server, number, min(OF_A_USER, count - first)) for number, first in enumerate(range(0, count, OF_A_USER))]
        used, memory = cpu_seconds(server.pid), server.memory()
        for number, (size, options) in enumerate(groups):
            crowds.enter_context(crowd(bench, server, size, others=number * OF_A_USER, **options))
        found = {"memory": (server.memory() - memory) / count / 1024, "open": (cpu_seconds(server.pid) - used) / count * 1e6}
        found["idle"] = _idle(server, bench.sizes.hold) / count * 1e6
        result = bench.load(server.prepare(), **hive_load(server, **ONE))
        return found | {"message": result["server_cpu"] / result["acks_per_s"] * 1e6}


def _prepare(server, number, size):
    """Make a user with devices; returns how many, and what connections of that user send first."""
    server.prepare([f"g{number}-{device}" for device in other_devices(size)], login=f"group-{number}")
    return size, subscribers(server, f"g{number}-o-{{d}}")


def _idle(server, seconds):
    """Seconds of processor time in a second in which the connections do nothing."""
    used, begin = cpu_seconds(server.pid), time.monotonic()
    time.sleep(seconds)
    return (cpu_seconds(server.pid) - used) / (time.monotonic() - begin)

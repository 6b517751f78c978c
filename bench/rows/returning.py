"""Devices that come back all at once, as after a restart of a network: each authenticates, subscribes, and gets what was stored for it."""

import time
from contextlib import contextmanager

from bench.figures import Row
from bench.generator import hive_load
from bench.plan import Task
from bench.rows.connections import other_devices

DEVICES, STORED = 1000, 100


def come_back(storage):
    """Make the run of a task: 1,000 connections at the same time, each with 100 messages of a device of its own to get."""

    def run(bench):
        with _filled(bench, storage) as (server, since):
            members = f'"deviceId":"o-{{d}}","names":["temperature"],"timestamp":{since}'
            load = hive_load(server, subscription=members, mode="replay", replayed=STORED, pubs=0, subs=DEVICES, devices=DEVICES)
            result = bench.load(server, **load, opening=DEVICES, patience=30)
            cpu_seconds = result["server_cpu"] * result["secs"]
            return {"seconds": result["secs"], "replayed": cpu_seconds / (DEVICES * STORED) * 1e6, "generator cpu": result["gen_cpu"]}

    return run


@contextmanager
def _filled(bench, storage):
    """A server with the messages, and since when; filled once. That in memory is suspended in between, that with a file is started anew."""
    name = f"returning {storage}"
    if name not in bench.found:
        bench.found[name] = _fill(bench, storage)
    directory, since, server = bench.found[name]
    if server is None:
        with bench.hive(storage, directory) as server:
            yield server.prepare(()), since
            server.stop()
        return
    server.resume()
    try:
        yield server, since
    finally:
        server.suspend()


def _fill(bench, storage):
    directory = bench.keep_directory()
    server = bench.hive(storage, directory)
    bench.kept.enter_context(server)
    server.prepare(other_devices(DEVICES))
    since = int(time.time() * 1000)
    load = hive_load(server, device="o-{d}", devices=DEVICES, pubs=8, subs=0, window=16, flow="ack", requests=DEVICES * STORED)
    bench.generator.run(server, **load, warm=0, secs=60)
    if storage == "memory:":
        return directory, since, server
    server.stop()
    return directory, since, None


TASKS = (
    Task("returning memory", come_back("memory:"), seldom=True),
    Task("returning file", come_back("file:"), seldom=True),
)

_TITLE = "1,000 devices come back, 100 messages each"

ROWS = (
    Row("return-memory", f"{_TITLE}, memory", "seconds", "returning memory"),
    Row("return-memory-cpu", f"{_TITLE}: CPU time per message, memory", "replayed", "returning memory", "ask memory"),
    Row("return-file", f"{_TITLE}, file", "seconds", "returning file"),
    Row("return-file-cpu", f"{_TITLE}: CPU time per message, file", "replayed", "returning file", "ask file"),
)

"""What an insert, a list, a replay and a deletion cost with ever more stored messages, in a file and in PostgreSQL."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.client import frame, texts
from bench.figures import Failed, Lost
from bench.filling import ASKED
from bench.generator import hive_load
from bench.growth.history import SILENT, SLICE, History
from bench.machine import CHECKOUT
from bench.plan import Task
from bench.processes import cpu_seconds, family, prepare
from bench.rows.connections import other_devices
from bench.rows.durable import postgres

NEWEST = 100
ASKED_TIMES = 50
"""So often each is asked in a run."""

LOAD = {"pubs": 8, "subs": 1, "window": 16, "to_all": True, "scatter": True, "any_order": True, "subscription": '"networkIds":[1]'}
"""All devices send, in no order; one client listens to all. A device that PostgreSQL is asked for at first is overtaken by known ones."""

INSERTS = 10_000
"""Those that are measured in a run. Before them each device sends one, since a server looks a device up at its first."""

WARM = 0.2
"""Seconds of these that are not measured."""

END_OF_LIST, END_OF_EVENT = b"]}", b"}}}"
"""What a reply and an event end with, and what stands nowhere else in them."""


@dataclass(frozen=True)
class Full:
    """A filled storage.

    :ivar storage: as the server is given it.
    :ivar place: the same for :mod:`bench.growth.history`.
    :ivar directory: where the server runs.
    :ivar database: ids of the processes of the database.
    :ivar size: gives its bytes on disk, while no server runs.
    """

    storage: str
    place: str
    directory: Path
    history: History
    database: tuple
    size: Callable


def stored_task(kind, count):
    """The task that measures one size.

    :param kind: ``file`` or ``postgres``.
    :param count: of stored messages.
    """
    return Task(f"{kind} {count}", lambda bench: measure(bench, kind, count))


def measure(bench, kind, count):
    """Measure one size; fill the storage when it is first wanted."""
    with _running(bench, kind) as database:
        full = bench.found.get((kind, count)) or _filled(bench, kind, count, database)
        with bench.hive(full.storage, full.directory) as server:
            found = {"start": cpu_seconds(server.pid)}
            found |= _ask(server.prepare(()), full) | _insert(bench, server, full)
            server.stop()
        # As many as were inserted, so that the storage does not grow.
        deleted = (INSERTS + full.history.devices) // SLICE * SLICE
        seconds = float(_program(bench, "expire", full.place, deleted, *full.database))
        return found | {"expiry": seconds / deleted * 1e6, "bytes": full.size() / count}


@contextmanager
def _running(bench, kind):
    if kind == "postgres":
        with postgres(bench) as database:
            yield database
    else:
        yield None


def _filled(bench, kind, count, database):
    directory, devices = bench.keep_directory(), bench.sizes.connections
    dsn = database.new_database() if database else ""
    storage = f"postgres:{dsn}" if database else "file:devicehive.sqlite"
    place = storage if database else f"file:{directory}/devicehive.sqlite"
    with bench.hive(storage, directory) as server:
        server.prepare([ASKED, SILENT, *other_devices(devices)])
        server.stop()
    history = History(int(time.time() * 1000), count, devices)
    bench.say(f"  filling it with {count:,} messages of {devices:,} devices")
    _program(bench, "fill", place, history.now, history.count, history.devices)
    if database:
        full = Full(storage, place, directory, history, (database.pid,), lambda: _settle(dsn))
    else:
        full = Full(storage, place, directory, history, (), lambda: os.path.getsize(directory / "devicehive.sqlite"))
    full.size()
    bench.found[kind, count] = full
    return full


def _settle(dsn):
    """Let a database do now what it would do some time, during a run of another side; returns bytes of the notifications."""
    import psycopg2

    connection = psycopg2.connect(dsn)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("VACUUM ANALYZE notifications")
            cursor.execute("CHECKPOINT")
            cursor.execute("SELECT pg_total_relation_size('notifications')")
            return cursor.fetchone()[0]
    finally:
        connection.close()


def _program(bench, *arguments):
    """Run :mod:`bench.growth.history`; returns what it wrote."""
    command = [sys.executable, "-m", "bench.growth.history", *map(str, arguments)]
    options = {"preexec_fn": prepare(bench.cores.everything), "capture_output": True, "text": True, "check": False}
    done = subprocess.run(command, cwd=CHECKOUT, **options)
    if done.returncode:
        raise Failed(f"{arguments[0]} failed: {done.stderr[-300:]}")
    return done.stdout


def _insert(bench, server, full):
    devices = full.history.devices
    load = hive_load(server, device="o-{d}", **LOAD, devices=devices, secs=60)
    bench.generator.run(server, **load, warm=0, requests=devices)
    load["pid"] = ",".join(map(str, family(server.pid, *full.database)))
    result = bench.generator.run(server, **load, warm=WARM, requests=INSERTS)
    return {"insert": result["server_cpu"] / result["acks_per_s"] * 1e6}


def _ask(server, full):
    processes, history = (server.pid, *full.database), full.history
    with server.connect() as client:
        newest = {"deviceId": ASKED, "take": NEWEST, "sortField": "timestamp", "sortOrder": "DESC"}
        listing = _request("notification/list", **newest)
        # The server itself tells that a device was added.
        added = NEWEST - len(_numbers(client.take(listing, END_OF_LIST, 1)))
        found = {"newest": _cost(processes, lambda: _take(client, listing, END_OF_LIST, 1, history.newest(NEWEST - added)))}
        found["replay"] = _cost(processes, lambda: _replay(client, history))
    return found


def _replay(client, history):
    since = history.timestamp(history.silent[0])
    _take(client, _request("notification/subscribe", deviceId=SILENT, timestamp=since), END_OF_EVENT, len(history.silent), history.silent)
    client.call("notification/unsubscribe")


def _cost(processes, ask):
    """Microseconds of processor time for one of many times."""
    begin = cpu_seconds(*processes)
    for _ in range(ASKED_TIMES):
        ask()
    return (cpu_seconds(*processes) - begin) / ASKED_TIMES * 1e6


def _request(action, **members):
    return frame(json.dumps({"action": action, "requestId": 1} | members).encode())


def _take(client, request, mark, count, expected):
    got = _numbers(client.take(request, mark, count))
    if got != list(expected):
        raise Lost(f"the {len(got)} messages that came are not the {len(expected)} that were expected")


def _numbers(data):
    """The numbers that the history has given to the messages in some texts, ascending."""
    messages = [json.loads(text) for text in texts(data)]
    found = [notification for message in messages for notification in message.get("notifications", [message.get("notification")])]
    return sorted(one["parameters"]["n"] for one in found if one and one["notification"] == "temperature")

"""What 1,000,000 stored messages and 10,000 other devices cost those who do not want them, and how soon stored ones are found.

The messages were sent over one day, each device's spread over all of it. One in a hundred is of the device that is asked for.
"""

import json
import subprocess
import time
from contextlib import contextmanager
from statistics import median

from bench.client import frame, texts
from bench.figures import Failed, Lost, Row
from bench.filling import ASKED, Filling
from bench.generator import hive_load
from bench.plan import Task
from bench.processes import prepare
from bench.rows.connections import crowd, other_devices, subscribers
from bench.rows.throughput import ONE

NEWEST, REPLAYED = 100, 1000
MANY = 100
"""So often each is asked in a run."""

REQUESTS = 50_000
"""So many does a run of load add at most: the storage in memory lets its oldest go for them, and those that are asked for must stay."""

END_OF_LIST, END_OF_EVENT = b"]}", b"}}}"
"""What a reply and an event end with, and what stands nowhere else in them: to look for these costs the client next to nothing."""


@contextmanager
def full(bench, storage):
    """A server with all these messages; filled when it is first asked for.

    That in memory keeps them between runs and is suspended meanwhile; that with a file is started anew.
    """
    with (full_memory if storage == "memory:" else full_file)(bench) as server:
        yield server, bench.found["filling"]


@contextmanager
def full_memory(bench):
    """The server in memory, filled over the wire."""
    if "full memory" not in bench.found:
        directory = bench.keep_directory()
        server = bench.kept.enter_context(bench.hive("memory:", directory))
        _prepare(bench, server)
        with server.connect() as client:
            client.call_many(bench.found["filling"].requests())
        bench.found["full memory"] = server
    server = bench.found["full memory"]
    server.resume()
    try:
        yield server
    finally:
        server.suspend()


@contextmanager
def full_file(bench):
    """A server on the file, filled by its storage provider while no server ran."""
    directory = full_directory(bench)
    with bench.hive("file:", directory) as server:
        yield server.prepare(())
        # In order, so that the next start has nothing to recover.
        server.stop()


def full_directory(bench):
    """Make the file; returns its directory."""
    if "full file" not in bench.found:
        directory = bench.keep_directory()
        with bench.hive("file:", directory) as server:
            _prepare(bench, server)
            server.stop()
        filling = bench.found["filling"]
        numbers = [str(number) for number in (filling.now, filling.count, filling.devices)]
        command = [bench.checkout.python, "-m", "bench.filling", directory / "devicehive.sqlite", *numbers]
        run = {
            "cwd": bench.checkout.path,
            "preexec_fn": prepare(bench.cores.everything),
            "capture_output": True,
            "text": True,
            "check": False,
        }
        done = subprocess.run(command, **run)
        if done.returncode:
            raise Failed(f"the file could not be filled: {done.stderr[-300:]}")
        bench.found["full file"] = directory
    return bench.found["full file"]


def _prepare(bench, server):
    devices = bench.sizes.connections
    bench.say(f"  filling it with {bench.sizes.stored:,} messages of {devices:,} devices")
    bench.found.setdefault("filling", Filling(int(time.time() * 1000), bench.sizes.stored, devices))
    server.prepare(["d1", ASKED, *other_devices(devices)])


def cost(bench, server, **load):
    """Measure what one message costs a server.

    :param load: options of the generator.
    """
    result = bench.load(server, **load, warm=0.2, requests=REQUESTS)
    return {"microseconds": result["server_cpu"] / result["acks_per_s"] * 1e6, "inserts": result["acks_per_s"]}


def _cost(bench, server):
    return cost(bench, server, **hive_load(server, **ONE))


def load_empty(storage):
    """Make the run of a task: load on a new server."""

    def run(bench):
        with bench.hive(storage) as server:
            return _cost(bench, server.prepare())

    return run


def load_full(storage):
    """Make the run of a task: load on a server with all the messages, devices and their subscribers."""

    def run(bench):
        with full(bench, storage) as (server, filling):
            # They are of another user: one may have no more than 10,000 connections.
            others = subscribers(server.prepare((), login="others"))
            with crowd(bench, server, filling.devices, **others):
                return _cost(bench, server.prepare(()))

    return run


def ask(storage):
    """Make the run of a task: the newest messages of a device, and a subscription that begins with stored ones."""

    def run(bench):
        with full(bench, storage) as (server, filling), server.connect() as client:
            listing = frame(json.dumps(_list_request()).encode())
            # The server itself tells that a device was added: the newest message of the list, and the first that a full memory forgets.
            added = NEWEST - len(_numbers(client.take(listing, END_OF_LIST, 1)))
            newest = _many(server, "list", lambda: _timed(client, listing, END_OF_LIST, 1, filling.newest(NEWEST - added)))
            replays = _many(server, "replay", lambda: _replay(client, filling))
            return newest | replays | {"replayed": replays["replay cpu"] * 1000 / REPLAYED}

    return run


def _many(server, name, ask_once):
    """Ask again and again; returns the median of the milliseconds, and the server's processor time for one."""
    used = server.cpu_seconds()
    seconds = [ask_once() for _ in range(MANY)]
    return {name: median(seconds) * 1000, f"{name} cpu": (server.cpu_seconds() - used) / MANY * 1000}


def _list_request():
    return {"action": "notification/list", "deviceId": ASKED, "take": NEWEST, "sortField": "timestamp", "sortOrder": "DESC"}


def _replay(client, filling):
    request = {"action": "notification/subscribe", "deviceId": ASKED, "timestamp": filling.since(REPLAYED)}
    seconds = _timed(client, frame(json.dumps(request).encode()), END_OF_EVENT, REPLAYED, filling.newest(REPLAYED))
    client.call("notification/unsubscribe")
    return seconds


def _timed(client, request, mark, count, expected):
    """Ask, and wait for all; returns seconds once it is known that exactly those that were expected came."""
    begin = time.perf_counter()
    data = client.take(request, mark, count)
    seconds = time.perf_counter() - begin
    got = _numbers(data)
    if got != expected:
        raise Lost(f"the {len(got)} messages that came are not the {len(expected)} that were expected")
    return seconds


def _numbers(data):
    """The numbers that the filling has given to the messages in some texts, ascending."""
    messages = [json.loads(text) for text in texts(data)]
    found = [notification for message in messages for notification in message.get("notifications", [message.get("notification")])]
    return sorted(
        notification["parameters"]["n"] for notification in found if notification and notification["notification"] == "temperature"
    )


TASKS = (
    Task("load memory full", load_full("memory:"), seldom=True),
    Task("load memory empty", load_empty("memory:"), seldom=True),
    Task("load file full", load_full("file:"), seldom=True),
    Task("load file empty", load_empty("file:"), seldom=True),
    Task("ask memory", ask("memory:"), seldom=True),
    Task("ask file", ask("file:"), seldom=True),
)

ROWS = (
    Row(
        "load-memory", "CPU time per message, others connected, memory", "microseconds", "load memory full", "load memory empty", 1.2, 1.05
    ),
    Row("load-file", "CPU time per message, others connected, file", "microseconds", "load file full", "load file empty", 1.2, 1.05),
    Row("list-memory", "list of the newest 100 of a device, memory", "list", "ask memory", None, 5, 1),
    Row("list-file", "list of the newest 100 of a device, file", "list", "ask file", None, 5, 1),
    Row("replay-memory", "replay of 1,000 messages, memory", "replay", "ask memory", None, 5, 1),
    Row("replay-file", "replay of 1,000 messages, file", "replay", "ask file", None, 5, 1),
)

"""Where the time of an insert goes: ``python -m bench.profiling``.

Load as in the rows ``one-echo`` and ``file-16``. A first run measures what an insert costs of processor time; in a second, py-spy looks
500 times a second which function runs, and its share of the looks is its share of that time. C code counts to the Python function that
calls it.
"""

import argparse
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from bench import machine
from bench.figures import Failed
from bench.generator import Generator, build, echo_load, hive_load
from bench.plan import make_directory
from bench.rows.throughput import ONE
from bench.servers import DeviceHive, Echo, RawEcho

SECONDS = 6
LOOKS_PER_SECOND = 500

LAYERS = (
    ("reactor, sockets, system calls", r"^twisted/|dhtwisted/kit/lean_reactor|^socket\.py|^selectors\.py|^heapq\.py"),
    ("frames in: header, unmasking, UTF-8", r"dhtwisted/transports/websocket/frames"),
    ("connection: queue and one write per turn", r"dhtwisted/transports/"),
    (
        "request: order of replies, rights, quotas, batches",
        r"dhtwisted/(fronts/|core/(server|access|coroutines|batches|messages|quotas|rules)|kit/waiter|actions/table)\b",
    ),
    ("JSON in and reply out", r"dhtwisted/wire/(envelope|fields|payloads)\b"),
    ("the action itself", r"dhtwisted/(actions/|core/entity_cache)"),
    ("storage", r"dhtwisted/(providers/(memory|sqlite|postgres)|kit/(batching|message_log))"),
    ("bus, and subscribers found", r"dhtwisted/(providers/local_bus|core/(bus_receiver|broker|event_batch|subscription_index|polls))"),
    ("event out", r"dhtwisted/wire/(events|message_texts|resources|timestamps)\b"),
)
"""What a layer is called -> the files of its functions; the first that fits counts."""

OTHER = "everything else"
_FRAME = re.compile(r"^(?P<name>.+) \((?P<file>[^)]+?)(:\d+)?\)$")
_AT_REST = re.compile(r"\b(threading|queue|worker)\.py|concurrent/futures")


def layer_of(frame):
    """Name the layer of a function.

    :param frame: as py-spy writes it: ``function (path/of/file.py:12)``.
    """
    found = _FRAME.match(frame)
    path = found["file"] if found else frame
    return next((layer for layer, pattern in LAYERS if re.search(pattern, path)), OTHER)


def shares(raw):
    """Count looks by layer.

    :param raw: py-spy's raw form: a line for each stack, outermost function first, and how often it was seen.
    :returns: layer -> share of all, 0 to 1.
    """
    counts = Counter()
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        innermost = stack.split(";")[-1]
        if not _AT_REST.search(innermost):
            counts[layer_of(innermost)] += int(count)
    total = sum(counts.values())
    return {layer: count / total for layer, count in counts.items()}


def profile(server, generator, options, directory):
    """Measure one server under load.

    :returns: microseconds of its processor time for each request, and its shares.
    """
    result = generator.run(server, secs=SECONDS, warm=1, **options)
    raw = directory / "stacks.txt"
    command = [
        find_py_spy(),
        "record",
        "--pid",
        server.pid,
        "--rate",
        LOOKS_PER_SECOND,
        "--duration",
        SECONDS - 2,
        "--format",
        "raw",
        "--output",
        raw,
    ]
    with subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as spy:
        generator.run(server, secs=SECONDS, warm=1, **options)
        problem = spy.communicate()[1]
    if spy.returncode or not raw.exists():
        raise Failed(f"py-spy could not look at the server: {problem.strip()}")
    return 1e6 * result["server_cpu"] / result["acks_per_s"], shares(raw.read_text())


def find_py_spy():
    """Where the program is: beside this Python, or anywhere; ``None`` when it is not."""
    return shutil.which("py-spy", path=str(Path(sys.executable).parent)) or shutil.which("py-spy")


def table(columns):
    """Write what was found, as lines of Markdown.

    :param columns: title -> ``(microseconds, shares)``.
    """
    layers = [layer for layer, _ in LAYERS] + [OTHER]
    yield f"| us of processor time | {' | '.join(columns)} |"
    yield "|---" * (len(columns) + 1) + "|"
    for layer in layers:
        values = [cost * found.get(layer, 0) for cost, found in columns.values()]
        yield f"| {layer} | {' | '.join(f'{value:.2f}' if value else '' for value in values)} |"
    yield f"| **all** | {' | '.join(f'**{cost:.2f}**' for cost, _ in columns.values())} |"


def main():
    """Measure, and show the table."""
    argparse.ArgumentParser(prog="python -m bench.profiling", description="Show where the time of an insert goes.").parse_args()
    if find_py_spy() is None:
        sys.stderr.write("bench.profiling: py-spy was not found: pip install -e '.[bench]'\n")
        return 2
    cores, directory = machine.choose_cores(), make_directory()
    columns = {}
    try:
        generator = Generator(build(directory), cores.generator)
        for title, storage in (("insert and delivery, memory", "memory:"), ("the same, file", "file:devicehive.sqlite")):
            place = directory / storage.partition(":")[0]
            with DeviceHive(place, storage, cores.server) as server:
                columns[title] = profile(server, generator, hive_load(server.prepare(), **ONE), place)
        for title, kind, load in (("Autobahn echo", Echo, echo_load), ("Twisted echo, no frames", RawEcho, raw_load)):
            place = Path(directory, kind.__name__)
            with kind(place, cores.server) as server:
                columns[title] = profile(server, generator, load(**ONE | {"subs": 0}), place)
    finally:
        shutil.rmtree(directory)
    described = machine.describe(directory.parent)
    sys.stdout.write("\n".join([*table(columns), "", *(f"{name}: {text}  " for name, text in described.items())]) + "\n")
    return 0


def raw_load(**options):
    """Options for load on a server that sends back what it reads."""
    return {"proto": "raw"} | echo_load(**options)


if __name__ == "__main__":
    sys.exit(main())

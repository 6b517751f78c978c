"""The command line: ``python -m bench.growth``."""

import argparse
import os
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

from bench import machine
from bench.__main__ import SPARE_FILES, progress, remove, show
from bench.figures import Results
from bench.generator import CannotBuild, Generator, build
from bench.growth.chart import chart
from bench.growth.connections import connections_task
from bench.growth.report import SIDES, as_json, lines_of, page, table
from bench.growth.stored import stored_task
from bench.plan import FULL, QUICK, Bench, make_directory, run_rounds
from bench.processes import raise_file_limit

KINDS = tuple(side.kind for side in SIDES)
CONNECTIONS = 1_000, 10_000, 20_000
STORED = 100_000, 1_000_000, 10_000_000
ROUNDS = 3
"""As many as can be: each deletes a fifth of the smallest history."""

QUICK_CONNECTIONS, QUICK_STORED = (500, 2_000), (100_000, 300_000)
NOTES = (
    "Times are processor time of the server with its writing process, or of the server and PostgreSQL.",
    "Load: 8 publishers x 16 in flight. With stored messages they send for 10,000 devices in no order, and one client listens to all.",
)


def parser():
    """Make the parser of the command line."""
    found = argparse.ArgumentParser(prog="python -m bench.growth", description="Measure what grows with connections and stored messages.")
    add = found.add_argument
    add("--quick", action="store_true", help="fewer connections and messages, one round")
    add("--rounds", type=int, choices=range(1, ROUNDS + 1), help=f"number of rounds (default {ROUNDS}, with --quick 1)")
    add(
        "--only", type=_kinds, action="extend", default=[], metavar="SIDE,...", help=f"measure only these of {', '.join(KINDS)}; repeatable"
    )
    add("--directory", type=Path, help="where servers keep their data while they run: 10 GB on a disk (default: TMPDIR)")
    add("--save", type=Path, metavar="DIRECTORY", help="write growth.md, growth.json and a picture of each there")
    return found


def _kinds(text):
    kinds = text.split(",")
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise argparse.ArgumentTypeError(f"no side is called {unknown[0]!r}; there are {', '.join(KINDS)}")
    return kinds


def main(arguments=None):
    """Measure; returns the exit status: 1 when a run had a loss, or failed."""
    options = parser().parse_args(arguments)
    # SIGTERM ends as Ctrl-C does: with everything stopped and removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    directory = make_directory(options.directory)
    try:
        return measure(options, directory)
    except CannotBuild as error:
        sys.stderr.write(f"bench.growth: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("bench.growth: interrupted\n")
        return 130
    finally:
        remove(directory)


def measure(options, directory):
    """Run what was asked for, show it and save it."""
    cores, results = machine.choose_cores(), Results()
    described = machine.describe(directory)
    sizes = sizes_here(options.quick)
    sides = [side for side in SIDES if not options.only or side.kind in options.only]
    os.sched_setaffinity(0, cores.generator)
    generator = Generator(build(directory), cores.generator)
    rounds = options.rounds or (1 if options.quick else ROUNDS)
    bench = Bench(directory, cores, generator, QUICK if options.quick else replace(FULL, connections=10_000), progress(time.monotonic()))
    with bench.kept:
        run_rounds([task_of(side.kind, size) for side in sides for size in sizes[side.kind]], rounds, bench, results)
        described |= bench.versions
    notes = [*NOTES, f"{rounds} rounds.", *machine.warnings(cores, directory)]
    found = [(side, lines_of(side, sizes[side.kind], results)) for side in sides]
    tables = [(side, list(table(side, sizes[side.kind], lines))) for side, lines in found]
    text = list(page(tables, described, notes, options.save))
    show(text)
    if options.save:
        options.save.mkdir(parents=True, exist_ok=True)
        (options.save / "growth.md").write_text("\n".join(text) + "\n")
        (options.save / "growth.json").write_text(as_json(found, described, notes, results))
        for side, lines in found:
            (options.save / f"growth-{side.kind}.svg").write_text(chart(side, sizes[side.kind], lines))
    return int(any(line.failed for _, lines in found for line in lines))


def sizes_here(quick):
    """Side -> its sizes; connections are as many as this machine lets a server open."""
    most = raise_file_limit() - SPARE_FILES
    connections = sorted({min(count, most) for count in (QUICK_CONNECTIONS if quick else CONNECTIONS)})
    stored = QUICK_STORED if quick else STORED
    return {"connections": connections, "file": stored, "postgres": stored}


def task_of(kind, size):
    """The task that measures one size of one side."""
    return connections_task(size) if kind == "connections" else stored_task(kind, size)


if __name__ == "__main__":
    sys.exit(main())

"""The command line: ``python -m bench``."""

import argparse
import os
import shutil
import signal
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

from bench import machine
from bench.chart import chart
from bench.figures import Results, work_out
from bench.generator import CannotBuild, Generator, build
from bench.pages import save_pages
from bench.plan import FULL, QUICK, Bench, make_directory, run_rounds
from bench.processes import raise_file_limit
from bench.report import as_json, busy_generator, left_behind, markdown, table
from bench.rows import ROWS, choose, tasks_of
from bench.rows.before import beside_before
from bench.servers import mosquitto_version

TITLE = "dhtwisted compared with others and with its targets"
REMOVALS = 20
SPARE_FILES = 200
"""So many files a server may need besides its connections."""

NOTE = "This server: python -m dhtwisted with its default settings. All checks, limits, statistics and rights are on; no limit was raised."
NOTES_ON_PEERS = {
    "echo": "Autobahn echo: WebSocketServerFactory with its defaults.",
    "Mosquitto": "Mosquitto: persistence off, no limit that drops messages, TCP_NODELAY.",
    "twisted.web": "Bare twisted.web: one resource, no access log.",
    "JetStream": "NATS: a stream in files, sync_interval always, all cores.",
    "PostgreSQL": "PostgreSQL: fsync and synchronous_commit on, 128 MB of shared buffers, 1 GB of log before a checkpoint, all cores.",
}
"""A word of the name of a side -> how it is set up."""


def parser():
    """Make the parser of the command line."""
    found = argparse.ArgumentParser(prog="python -m bench", description="Measure this server, and others for comparison, on this machine.")
    add = found.add_argument
    add("--quick", action="store_true", help="shorter and fewer runs, fewer connections and messages: about 5 minutes")
    add(
        "--rounds",
        type=_positive,
        help=f"number of rounds; each measures every row once (default {FULL.rounds}, with --quick {QUICK.rounds})",
    )
    add("--only", type=_words, default=[], metavar="ROW,...", help="measure only these rows or groups of rows; see --list")
    add("--list", action="store_true", help="list the rows, and exit")
    add("--against", type=_checkout, metavar="CHECKOUT", help="compare with another checkout of this project as well, in the same rounds")
    add("--against-python", type=_program, metavar="FILE", help="the Python of that checkout (default: CHECKOUT/.venv/bin/python)")
    add("--no-peers", action="store_true", help="with --against: compare with that checkout only")
    add("--directory", type=_directory, help="where servers keep their data while they run; must be on a disk (default: TMPDIR)")
    add("--json", type=_new_file, metavar="FILE", help="write all figures and the values of each run")
    add("--chart", type=_new_file, metavar="FILE.svg", help="draw the figures that have targets")
    add(
        "--save",
        type=_new_directory,
        metavar="DIRECTORY",
        help="write the results into a directory of this processor there, and a page that lists all",
    )
    return found


def _positive(text):
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a number of 1 or more, not {text}")
    return int(text)


def _words(text):
    words = text.split(",")
    try:
        choose(words)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return words


def _directory(text):
    if not os.path.isdir(text):
        raise argparse.ArgumentTypeError(f"the directory {text} does not exist")
    return text


def _checkout(text):
    path = Path(text).resolve()
    if not (path / "dhtwisted" / "__init__.py").is_file():
        raise argparse.ArgumentTypeError(f"{text} is no checkout of this project: it has no directory dhtwisted")
    return path


def _program(text):
    if not os.access(text, os.X_OK):
        raise argparse.ArgumentTypeError(f"{text} is no program")
    # Not resolved: the Python of a virtual environment is a link, and knows by its place what is installed.
    return os.path.abspath(text)


def other_checkout(options, arguments):
    """The :class:`~bench.machine.Checkout` that was asked for; ``None`` without one.

    :param arguments: the parser, for what makes no sense.
    """
    if options.against is None:
        if options.against_python or options.no_peers:
            arguments.error("--against-python and --no-peers need --against CHECKOUT")
        return None
    python = options.against_python or options.against / ".venv" / "bin" / "python"
    if not os.access(python, os.X_OK):
        arguments.error(f"there is no {python}: install the requirements of that checkout there, or name its Python with --against-python")
    return machine.Checkout(options.against, str(python))


def _new_file(text):
    path = Path(text)
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text} cannot be written")
    return path


def _new_directory(text):
    try:
        Path(text).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text} cannot be created: {error.strerror}") from error
    return _new_file(f"{text}/benchmark.json").parent


def main(arguments=None):
    """Run the benchmark; returns the exit status: 1 when a run had a loss, or failed."""
    asked = parser()
    options = asked.parse_args(arguments)
    other = other_checkout(options, asked)
    if options.list:
        show([f"{row.key:18} {row.title}" for row in ROWS])
        return 0
    # SIGTERM ends as Ctrl-C does: with everything stopped and removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    directory = make_directory(options.directory)
    try:
        return measure(options, directory, other)
    except CannotBuild as error:
        sys.stderr.write(f"bench: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("bench: interrupted\n")
        return 130
    finally:
        remove(directory)


def remove(directory):
    """Remove all that servers wrote; one that is still ending may remove files at the same time."""
    for _ in range(REMOVALS):
        shutil.rmtree(directory, ignore_errors=True)
        if not directory.exists():
            return
        time.sleep(0.1)
    sys.stderr.write(f"bench: {directory} could not be removed\n")


def measure(options, directory, other):
    """Run what was asked for, and show it.

    :param other: another checkout to compare with, or ``None``.
    """
    begin = time.monotonic()
    cores = machine.choose_cores()
    described = machine.describe(directory) | {"Mosquitto": mosquitto_version() or "not installed"}
    sizes = sizes_here(QUICK if options.quick else FULL, options.rounds)
    rows = choose(options.only)
    tasks = tasks_of(rows)
    if other:
        rows, tasks = beside_before(rows, tasks, other, peers=not options.no_peers)
        described["other checkout"] = other.version
    # pgbench and the rows of nodes have a PostgreSQL too.
    peers = " ".join(row.peer.replace("pgbench", "PostgreSQL").replace("one node", "PostgreSQL") for row in rows)
    notes = [NOTE, *(note for word, note in NOTES_ON_PEERS.items() if word in peers), *machine.warnings(cores, directory)]
    os.sched_setaffinity(0, cores.generator)
    bench = Bench(directory, cores, Generator(build(directory), cores.generator), sizes, progress(begin))
    results = Results()
    with bench.kept:
        run_rounds(tasks, sizes.rounds, bench, results)
        described |= bench.versions
    figures = [work_out(row, results) for row in rows]
    notes += [*busy_generator(figures, results), *left_behind(figures, results)]
    notes.append(_extent(bench, begin))
    show(["", *(f"{name}: {text}" for name, text in described.items()), "", *notes, "", *table(figures)])
    save(options, figures, described, notes, sizes, results)
    return int(any(figure.failed for figure in figures))


def sizes_here(sizes, rounds):
    """Fit sizes to what was asked for, and to how many files this machine lets a server open.

    :param rounds: ``None``: as it is.
    """
    return replace(sizes, rounds=rounds or sizes.rounds, connections=min(sizes.connections, raise_file_limit() - SPARE_FILES))


def _extent(bench, begin):
    sizes, minutes = bench.sizes, (time.monotonic() - begin) / 60
    return (
        f"{sizes.rounds} rounds, each run {sizes.secs:g} s long, {sizes.connections:,} connections, {sizes.stored:,} stored messages; "
        f"core {min(bench.cores.server)} for servers, {min(bench.cores.generator)} for the generator; {minutes:.1f} minutes"
    )


def progress(begin):
    """Make a function that says what is done now, on standard error."""
    return lambda text: sys.stderr.write(f"{time.monotonic() - begin:6.0f} s  {text}\n")


def show(lines):
    """Write lines."""
    sys.stdout.write("\n".join(lines) + "\n")


def save(options, figures, described, notes, sizes, results):
    """Write the files that were asked for."""
    data = as_json(figures, described, notes, asdict(sizes), results)
    picture = chart(figures, TITLE)
    files = [(options.json, data), (options.chart, picture)]
    if options.save:

        def make_page(place):
            return "\n".join(markdown(figures, described, notes, place)) + "\n"

        save_pages(options.save, described["processor"], data, picture, make_page)
    for path, text in files:
        if path:
            path.write_text(text)


if __name__ == "__main__":
    sys.exit(main())

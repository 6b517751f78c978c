"""Small servers are really measured."""

import os
import signal
from dataclasses import replace

import pytest

from bench.__main__ import remove
from bench.figures import Lost, Missing
from bench.generator import CannotBuild, Generator, build
from bench.growth import __main__ as command
from bench.growth import connections, history, stored
from bench.growth.connections import connections_task
from bench.growth.report import SIDES
from bench.growth.stored import stored_task
from bench.machine import Cores
from bench.plan import QUICK, Bench, Task, make_directory

NAMES = {side.kind: {measure.name for measure in side.measures} for side in SIDES}


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The generator."""
    try:
        return build(tmp_path_factory.mktemp("generator"))
    except CannotBuild as error:
        pytest.skip(str(error))


@pytest.fixture
def bench(monkeypatch, program):
    """A benchmark of small servers; what it keeps ends with the test."""
    for name, value in {"NEWEST": 10, "ASKED_TIMES": 2, "INSERTS": 300, "WARM": 0}.items():
        monkeypatch.setattr(stored, name, value)
    everything = frozenset(os.sched_getaffinity(0))
    sizes = replace(QUICK, connections=20, warm=0.1, secs=0.2, hold=1)
    directory = make_directory()
    bench = Bench(directory, Cores(everything, everything, everything), Generator(program, everything), sizes)
    with bench.kept:
        yield bench
    remove(directory)


@pytest.mark.slow
def test_a_file_is_measured_again_and_again(bench):
    task = stored_task("file", 10_000)
    for found in (task.run(bench), task.run(bench)):
        assert found.keys() == NAMES["file"]
        assert all(value > 0 for value in found.values())


@pytest.mark.slow
def test_messages_that_are_not_those_asked_for_are_a_loss(bench, monkeypatch):
    monkeypatch.setattr(history.History, "newest", lambda *_: [1, 2])
    with pytest.raises(Lost, match="messages that came are not the 2"):
        stored_task("file", 10_000).run(bench)


@pytest.mark.slow
def test_postgres_is_measured(bench):
    try:
        found = stored_task("postgres", 10_000).run(bench)
    except Missing as error:
        pytest.skip(str(error))
    assert found.keys() == NAMES["postgres"]
    assert all(value > 0 for value in found.values())


@pytest.mark.slow
def test_connections_of_several_users_are_measured(bench, monkeypatch):
    monkeypatch.setattr(connections, "OF_A_USER", 20)
    monkeypatch.setattr("bench.rows.connections.QUIET", 0.5)
    found = connections_task(50).run(bench)
    assert found.keys() == NAMES["connections"]
    assert all(value > 0 for name, value in found.items() if name not in ("memory", "idle"))


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Run the command with tasks that give one of everything; gives its status and what it wrote."""
    handler = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(command.os, "sched_setaffinity", lambda *_: None)
    monkeypatch.setattr(command, "raise_file_limit", lambda: 1024)
    monkeypatch.setattr(command, "build", lambda directory: directory / "loadgen")
    monkeypatch.setattr(command, "task_of", lambda kind, size: Task(f"{kind} {size}", lambda _: dict.fromkeys(NAMES[kind], float(size))))

    def run_it(*arguments):
        place = tmp_path / "place"
        place.mkdir()
        status = command.main(["--directory", str(place), *map(str, arguments)])
        assert list(place.iterdir()) == []
        return status, capsys.readouterr()

    yield run_it
    signal.signal(signal.SIGTERM, handler)


def test_it_saves_a_page_and_a_picture_of_each_side(run, tmp_path):
    status, written = run("--save", tmp_path / "made", "--rounds", 1)
    assert status == 0
    # There are 1024 files in these tests.
    assert "| Connections that do nothing, memory | 824 |" in written.out
    assert "| Stored messages, file | 100,000 | 1,000,000 | 10,000,000 |" in written.out
    pictures = [f"growth-{side.kind}.svg" for side in SIDES]
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == sorted([*pictures, "growth.json", "growth.md"])


def test_one_side_alone(run):
    _, written = run("--only", "file", "--quick")
    assert "PostgreSQL |" not in written.out
    assert "round 1 of 1: file 300000" in written.err


def test_sides_with_a_comma_between_them(run):
    _, written = run("--only", "file,postgres", "--quick")
    assert "round 1 of 1: file 300000" in written.err
    assert "round 1 of 1: postgres 300000" in written.err
    assert "connections" not in written.err


def test_a_side_that_is_none_is_refused(run, capsys):
    with pytest.raises(SystemExit):
        run("--only", "file,disk")
    assert "no side is called 'disk'; there are connections, file, postgres" in capsys.readouterr().err


def test_a_loss_is_the_exit_status(run, monkeypatch):
    def lose(_):
        raise Lost("1 undelivered")

    monkeypatch.setattr(command, "task_of", lambda kind, size: Task(f"{kind} {size}", lose))
    status, written = run("--only", "file", "--quick")
    assert status == 1
    assert "1 undelivered" in written.out

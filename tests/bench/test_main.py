import json
import signal
import sys
from pathlib import Path

import pytest

from bench import __main__ as command
from bench.figures import Lost
from bench.generator import CannotBuild
from bench.plan import Bench, Task
from bench.rows import ROWS, TASKS


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    """What a benchmark changes in its process is put back, and nothing is built."""
    handler = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(command.os, "sched_setaffinity", lambda *_: None)
    monkeypatch.setattr(command, "raise_file_limit", lambda: 1024)
    monkeypatch.setattr(command, "build", lambda directory: directory / "loadgen")
    yield
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def measured(monkeypatch):
    """Task name -> what it gives; anything else gives one of everything."""
    given = {}

    def run_as(name):
        def run(bench):
            assert isinstance(bench, Bench)
            (bench.new_directory() / "data").touch()
            outcome = given.get(name, {"inserts": 1.0, "p50": 1.0, "p99": 1.0, "seconds": 1.0})
            if isinstance(outcome, BaseException):
                raise outcome
            return outcome

        return run

    for name in TASKS:
        monkeypatch.setitem(TASKS, name, Task(name, run_as(name)))
    return given


@pytest.fixture
def run(tmp_path, capsys):
    """Run the command in a directory of its own; gives its status and what it wrote."""

    def run_it(*arguments):
        place = tmp_path / "place"
        place.mkdir()
        status = command.main(["--directory", str(place), *map(str, arguments)])
        assert list(place.iterdir()) == []
        return status, capsys.readouterr()

    return run_it


def test_it_prints_the_table_and_what_it_does(measured, run):
    measured |= {"one memory": {"inserts": 50_000.0}, "one echo": {"inserts": 10_000.0}}
    status, written = run("--only", "one-echo", "--rounds", "2")
    assert status == 0
    assert "50,000 inserts/s" in written.out
    assert "5.00" in written.out
    assert [line.split("  ")[-1] for line in written.err.splitlines()] == [
        "round 1 of 2: one memory",
        "round 1 of 2: one echo",
        "round 2 of 2: one echo",
        "round 2 of 2: one memory",
    ]


def test_a_loss_is_the_exit_status_and_no_figure(measured, run):
    measured["one memory"] = Lost("1 undelivered")
    status, written = run("--only", "one", "--quick")
    assert status == 1
    assert "LOSS in 2 of 2 runs: 1 undelivered" in written.out
    assert all("1.00" not in line for line in written.out.splitlines() if line.startswith("one-"))


def test_it_saves_everything_in_one_go(measured, run, tmp_path):
    place = tmp_path / "made" / "here"
    run("--only", "start-memory,one", "--rounds", "1", "--save", place, "--json", tmp_path / "a.json", "--chart", tmp_path / "a.svg")
    (kind,) = (path for path in place.iterdir() if path.is_dir())
    assert sorted(path.name for path in kind.iterdir()) == ["README.md", "benchmark.json", "benchmark.svg"]
    assert f"({kind.name}/README.md)" in (place / "README.md").read_text()
    data = json.loads((kind / "benchmark.json").read_text())
    assert [row["key"] for row in data["rows"]] == ["one-echo", "one-mosquitto", "start-memory"]
    # There are 1024 files in these tests.
    assert (data["sizes"]["rounds"], data["sizes"]["connections"]) == (1, 824)
    assert (tmp_path / "a.json").read_text() == (kind / "benchmark.json").read_text()
    assert (tmp_path / "a.svg").read_text() == (kind / "benchmark.svg").read_text()


def test_what_is_interrupted_leaves_nothing(measured, run):
    measured["one echo"] = KeyboardInterrupt()
    status, written = run("--only", "one-echo")
    assert status == 130
    assert "interrupted" in written.err


def test_without_a_compiler_it_says_what_to_install(monkeypatch, run):
    def build(directory):
        raise CannotBuild("install a compiler")

    monkeypatch.setattr(command, "build", build)
    status, written = run("--quick")
    assert status == 2
    assert written.err == "bench: install a compiler\n"


def test_the_rows_can_be_listed(capsys):
    assert command.main(["--list"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [row.key for row in ROWS]


def test_another_checkout_is_a_side_of_the_same_rounds(measured, run):
    measured |= {"one memory": {"inserts": 50_000.0}, "one memory before": {"inserts": 10_000.0}}
    checkout = Path(command.__file__).parents[1]
    arguments = ["--only", "one", "--rounds", "2", "--against", checkout, "--against-python", sys.executable, "--no-peers"]
    _, written = run(*arguments)
    order = [line.split("  ")[-1] for line in written.err.splitlines()]
    assert order == [
        f"round {text}" for text in ("1 of 2: one memory", "1 of 2: one memory before", "2 of 2: one memory before", "2 of 2: one memory")
    ]
    assert "other checkout: " in written.out
    assert "one-before" in written.out


def test_a_checkout_that_cannot_be_run_is_refused(tmp_path, capsys):
    (tmp_path / "dhtwisted").mkdir()
    (tmp_path / "dhtwisted" / "__init__.py").touch()
    for arguments, said in (
        (["--against", tmp_path / "nowhere"], "is no checkout of this project"),
        (["--against", tmp_path], "--against-python"),
        (["--no-peers"], "need --against CHECKOUT"),
    ):
        with pytest.raises(SystemExit) as ended:
            command.main([*map(str, arguments)])
        assert ended.value.code == 2
        assert said in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--only", "two"], ["--rounds", "0"], ["--rounds", "many"], ["--directory", "/nowhere/at/all"]])
def test_what_makes_no_sense_is_refused(arguments, capsys):
    with pytest.raises(SystemExit) as ended:
        command.main(arguments)
    assert ended.value.code == 2
    assert arguments[1] in capsys.readouterr().err

"""Another checkout as a side of the comparison."""

import os
import sys

from bench.figures import Results, work_out
from bench.machine import CHECKOUT, Checkout
from bench.plan import QUICK, Bench, Task
from bench.rows import ROWS, choose, tasks_of
from bench.rows.before import beside_before

OTHER = Checkout(CHECKOUT / "other", "python-of-the-other")


def beside(*words, **options):
    rows = choose(words)
    return beside_before(rows, tasks_of(rows), OTHER, **options)


def test_each_figure_of_this_server_gets_a_row_of_its_own():
    rows, tasks = beside("one", "replay-memory", "list-memory", "ceiling")
    assert [row.key for row in rows] == [
        "one-echo",
        "one-before",
        "one-mosquitto",
        "list-memory",
        "list-memory-before",
        "replay-memory",
        "replay-memory-before",
        "ceiling",
    ]
    assert [task.name for task in tasks] == [
        "one memory",
        "one memory before",
        "one echo",
        "one mosquitto",
        "ask memory",
        "ask memory before",
        "ceiling",
    ]


def test_without_peers_only_the_two_checkouts_are_run():
    rows, tasks = beside("one", "ceiling", peers=False)
    assert [row.key for row in rows] == ["one-before"]
    assert [task.name for task in tasks] == ["one memory", "one memory before"]


def test_rows_of_the_whole_table_have_names_of_their_own():
    rows, tasks = beside()
    assert len({row.key for row in rows}) == len(rows) > len(ROWS)
    assert {name for row in rows for name in row.tasks} == {task.name for task in tasks}


def test_the_replay_has_targets_against_the_commit_before():
    rows, _ = beside("replay")
    targets = {row.key: (row.at_least, row.aim) for row in rows if row.key.endswith("-before")}
    assert targets == {"replay-memory-before": (0.5, 0.25), "replay-file-before": (0.667, 0.333)}


def test_tasks_of_the_other_checkout_run_it_and_find_only_what_they_left_themselves(tmp_path):
    def run(bench):
        bench.found["runs"] = bench.found.get("runs", 0) + 1
        return {"seconds": bench.checkout.python, "runs": bench.found["runs"]}

    (row,) = choose(["start-full"])
    _, (mine, before) = beside_before([row], [Task(row.task, run)], OTHER)
    bench = Bench(tmp_path, None, None, QUICK)
    assert mine.run(bench) == {"seconds": sys.executable, "runs": 1}
    assert before.run(bench) == {"seconds": OTHER.python, "runs": 1}
    assert before.run(bench) == {"seconds": OTHER.python, "runs": 2}


def test_what_is_timed_is_compared_by_processor_time_as_well():
    rows, _ = beside("replay-memory", peers=False)
    results = Results()
    results.add("ask memory", 0, {"replay": 3.0, "replay cpu": 1.0})
    results.add("ask memory before", 0, {"replay": 4.0, "replay cpu": 4.0})
    figure = work_out(rows[0], results)
    assert (figure.ratio, figure.by_cpu, figure.verdict) == (0.75, 0.25, "no")


def test_a_server_of_another_checkout_is_started_with_its_own_source(tmp_path):
    package = tmp_path / "dhtwisted"
    package.mkdir()
    (package / "__init__.py").write_text('__version__ = "7.7"\n')
    (package / "__main__.py").write_text(
        "import time\nprint('Listening on 127.0.0.1:4711', __file__, flush=True)\ntime.sleep(60)\n",
    )
    everything = frozenset(os.sched_getaffinity(0))
    checkout = Checkout(tmp_path, sys.executable)
    bench = Bench(tmp_path, None, None, QUICK).of(checkout)
    with bench.hive(cores=everything) as server:
        assert (server.port, str(package) in server.log) == (4711, True)
    assert checkout.version == "7.7"

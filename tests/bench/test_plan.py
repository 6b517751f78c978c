import pytest

from bench.figures import Failed, Lost, Missing, Results
from bench.plan import QUICK, Bench, Task, make_directory, run_rounds


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path, None, None, QUICK)


def run(bench, tasks, rounds):
    """Run them; gives the order, and the results."""
    order, results = [], Results()
    bench.say = lambda text: order.append(text.rpartition(": ")[2])
    run_rounds(tasks, rounds, bench, results)
    return order, results


def giving(outcome):
    def run(bench):
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return run


def test_sides_take_turns_and_every_second_round_goes_backwards(bench):
    tasks = [Task(name, giving({"p50": 1})) for name in "ab"]
    order, results = run(bench, tasks, 3)
    assert order == ["a", "b", "b", "a", "a", "b"]
    assert results.series("a", "p50") == {0: 1, 1: 1, 2: 1}


def test_what_takes_long_is_run_in_every_second_round(bench):
    order, results = run(bench, [Task("a", giving({})), Task("long", giving({"p50": 1}), seldom=True)], 3)
    assert order == ["a", "long", "a", "a", "long"]
    assert list(results.series("long", "p50")) == [0, 2]


def test_what_is_not_installed_is_tried_once(bench):
    order, results = run(bench, [Task("a", giving(Missing("install it")))], 3)
    assert order == ["a"]
    assert results.is_missing("a")


def test_a_loss_ends_neither_the_task_nor_the_others(bench):
    order, results = run(bench, [Task("a", giving(Lost("1 unanswered"))), Task("b", giving({"p50": 1}))], 2)
    assert order == ["a", "b", "b", "a"]
    assert results.measured("a") == []
    assert len(results.measured("b")) == 2


def test_a_connection_that_breaks_is_a_failure(bench):
    _, results = run(bench, [Task("a", giving(ConnectionResetError("gone")))], 1)
    assert results.as_data() == {"a": [{"round": 0, "failure": "ConnectionResetError: gone"}]}


def test_a_run_in_which_nothing_was_done_is_a_failure(bench):
    _, results = run(bench, [Task("a", lambda bench: {"p50": 1 / 0.0})], 1)
    with pytest.raises(Failed, match="nothing was acknowledged"):
        results.series("a", "p50")


def test_a_defect_is_not_taken_for_a_failure(bench):
    with pytest.raises(KeyError):
        run(bench, [Task("a", giving(KeyError("defect")))], 1)


def test_what_a_run_writes_is_removed_but_for_what_it_keeps(bench, tmp_path):
    kept = []

    def write(bench):
        (bench.new_directory() / "data").touch()
        kept.append(bench.keep_directory())
        return {}

    run(bench, [Task("a", write)], 2)
    assert set(tmp_path.iterdir()) == set(kept)
    assert len(kept) == 2


def test_others_may_pass_through_its_directory_but_not_list_it(tmp_path):
    directory = make_directory(tmp_path)
    assert directory.parent == tmp_path
    assert directory.stat().st_mode & 0o777 == 0o711


def test_a_directory_in_memory_is_avoided(tmp_path, monkeypatch):
    monkeypatch.setattr("bench.plan.tempfile.gettempdir", lambda: "/in/memory")
    monkeypatch.setattr("bench.plan.file_system", lambda path: "tmpfs")
    made = []
    monkeypatch.setattr("bench.plan.tempfile.mkdtemp", lambda prefix, dir: made.append(dir) or str(tmp_path))
    make_directory()
    assert made == ["/var/tmp"]

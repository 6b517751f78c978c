import pytest

from bench.figures import PEERS, UNITS
from bench.rows import ROWS, TASKS, choose, tasks_of


def test_rows_have_names_of_their_own_and_tasks_that_exist():
    assert len({row.key for row in ROWS}) == len(ROWS)
    assert {name for row in ROWS for name in row.tasks} == TASKS.keys()
    assert {row.measure for row in ROWS} <= UNITS.keys()
    assert {row.peer for row in ROWS if row.against} <= set(PEERS.values())


def test_an_aim_lies_beyond_what_must_at_least_be_reached():
    for row in ROWS:
        if row.at_least is not None:
            assert (row.aim < row.at_least) == row.less


def test_rows_are_chosen_by_name_and_by_group_in_the_order_of_the_table():
    assert [row.key for row in choose(["start-file", "one"])] == ["one-echo", "one-mosquitto", "start-file"]
    assert choose() == list(ROWS)


def test_an_unknown_row_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match="no row is called on; there are one-echo"):
        choose(["on"])


def test_a_task_of_several_rows_is_run_once_beside_its_other_side():
    names = [task.name for task in tasks_of(choose(["one", "fan", "file-16"]))]
    assert names == ["one memory", "one echo", "one mosquitto", "file 16", "fan memory", "fan mosquitto"]

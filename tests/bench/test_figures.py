import pytest

from bench.figures import BEYOND, MISSED, REACHED, Failed, Lost, Missing, Results, Row, judge, work_out

RATE = Row("one", "title", "inserts", "mine", "one echo", 2.5, 4)
TIME = Row("start", "title", "seconds", "mine", None, 2, 1)


def results_of(mine, other=()):
    """Results of two tasks, by round; ``None`` where one was not run."""
    results = Results()
    for task, outcomes in (("mine", mine), ("one echo", other)):
        for number, value in enumerate(outcomes):
            if value is not None:
                results.add(task, number, value if isinstance(value, Exception) else {"inserts": value, "seconds": value})
    return results


def test_a_ratio_is_the_median_of_those_of_each_round():
    figure = work_out(RATE, results_of([300, 100, 800], [100, 50, 200]))
    # Of the medians it would be 3 as well; by rounds it is 3, 2 and 4.
    assert (figure.value, figure.other, figure.ratio, figure.low, figure.high, figure.rounds) == (300, 100, 3, 2, 4, 3)


def test_a_disturbance_of_both_sides_in_one_round_changes_no_ratio():
    assert work_out(RATE, results_of([300, 30, 300], [100, 10, 100])).low == 3


def test_a_side_that_is_run_less_often_is_paired_with_its_rounds():
    figure = work_out(RATE, results_of([300, 900, 500], [100, None, 100]))
    assert (figure.ratio, figure.rounds, figure.value) == (4, 2, 500)


def test_a_row_without_another_side_has_the_spread_of_its_values():
    figure = work_out(TIME, results_of([1.5, 1.2, 1.9]))
    assert (figure.value, figure.ratio, figure.low, figure.high, figure.verdict) == (1.5, None, 1.2, 1.9, REACHED)


@pytest.mark.parametrize(("number", "verdict"), [(4, BEYOND), (3.99, REACHED), (2.5, REACHED), (2.49, MISSED)])
def test_a_ratio_is_judged(number, verdict):
    assert judge(RATE, number) == verdict


@pytest.mark.parametrize(("number", "verdict"), [(1, BEYOND), (1.01, REACHED), (2, REACHED), (2.01, MISSED)])
def test_of_times_less_is_better(number, verdict):
    assert judge(TIME, number) == verdict


def test_without_a_target_nothing_is_judged():
    assert judge(Row("pair", "title", "inserts", "mine"), 1) == ""


@pytest.mark.parametrize(
    "side", [{"mine": [300, Lost("2 undelivered")], "other": [100, 100]}, {"mine": [300], "other": [Lost("2 undelivered")]}]
)
def test_one_loss_on_either_side_leaves_no_figure(side):
    figure = work_out(RATE, results_of(**side))
    assert (figure.value, figure.other, figure.ratio, figure.low, figure.high, figure.verdict) == (None, None, None, None, None, "")
    assert "LOSS in 1 of" in figure.problem
    assert "2 undelivered" in figure.problem
    assert figure.failed


def test_a_loss_is_named_before_other_failures():
    figure = work_out(RATE, results_of([Failed("no start"), 1, Lost("1 unanswered")], [1, 1, 1]))
    assert figure.problem == "LOSS in 2 of 3 runs: 1 unanswered"


def test_what_is_not_installed_is_no_failure():
    figure = work_out(RATE, results_of([300], [Missing("Mosquitto is not installed")]))
    assert (figure.problem, figure.failed, figure.value) == ("Mosquitto is not installed", False, None)


def test_what_was_not_run_has_no_figure():
    assert work_out(RATE, Results()).failed


def test_another_side_that_did_nothing_gives_no_ratio():
    assert work_out(RATE, results_of([300], [0])).failed


def test_raw_results_show_failures_among_figures():
    data = results_of([300, Lost("1 unanswered")]).as_data()
    assert data == {"mine": [{"round": 0, "inserts": 300, "seconds": 300}, {"round": 1, "LOSS": "1 unanswered"}]}


def test_rates_are_better_when_higher_and_all_else_when_lower():
    assert [Row("r", "t", measure, "mine").less for measure in ("inserts", "deliveries", "opens")] == [False] * 3
    assert [Row("r", "t", measure, "mine").less for measure in ("p99", "seconds", "kilobytes", "cpu", "microseconds")] == [True] * 5


def test_rates_are_compared_by_processor_time_as_well():
    results = Results()
    for number, (mine, share, other, other_share) in enumerate([(300, 1.0, 100, 1.0), (150, 0.5, 50, 0.5), (60, 0.2, 40, 1.0)]):
        results.add("mine", number, {"inserts": mine, "server cpu": share})
        results.add("one echo", number, {"inserts": other, "server cpu": other_share})
    figure = work_out(RATE, results)
    assert (figure.ratio, figure.low, figure.high) == (3, 1.5, 3)
    # 3, 3 and 7.5: the third round was disturbed.
    assert figure.by_cpu == 3


def test_what_is_counted_by_processor_time_is_not_divided_by_it_again():
    results = Results()
    for task in ("mine", "one echo"):
        results.add(task, 0, {"inserts per core": 5, "server cpu": 0.5})
    row = Row("r", "t", "inserts per core", "mine", "one echo")
    assert (work_out(row, results).by_cpu, row.less) == (None, False)


def test_a_value_that_this_machine_cannot_give_leaves_the_others():
    results = Results()
    results.add("mine", 0, {"inserts": Missing("six cores are needed"), "seconds": 1})
    figure = work_out(Row("rate", "t", "inserts", "mine"), results)
    assert (figure.value, figure.problem, figure.failed) == (None, "six cores are needed", False)
    assert work_out(TIME, results).value == 1
    assert results.as_data() == {"mine": [{"round": 0, "inserts": "six cores are needed", "seconds": 1}]}


def test_without_the_processor_time_of_both_there_is_no_such_comparison():
    results = Results()
    results.add("mine", 0, {"inserts": 3, "server cpu": 1})
    results.add("one echo", 0, {"inserts": 1})
    assert work_out(RATE, results).by_cpu is None

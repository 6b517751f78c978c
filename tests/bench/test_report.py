import json

import pytest

from bench.figures import Lost, Missing, Results, Row, work_out
from bench.report import HEADINGS, as_json, busy_generator, cells, left_behind, markdown, number, table

RATE = Row("one", "eight publishers", "inserts", "mine", "one echo", 2.5, 4)
TIME = Row("start", "time to start", "seconds", "starting", None, 2, 1)


@pytest.fixture
def results():
    results = Results()
    results.add("mine", 0, {"inserts": 61234, "generator cpu": 0.97})
    results.add("one echo", 0, {"inserts": 20000})
    results.add("starting", 0, {"seconds": 0.75})
    results.add("losing", 0, Lost("3 undelivered"))
    return results


def test_a_line_has_both_sides_the_ratio_and_the_targets(results):
    line = cells(work_out(RATE, results))
    assert line == ["one", "61,200 inserts/s", "20,000 Autobahn echo", "3.06", "3.06 - 3.06", "", "2.5", "4", "yes"]


def test_a_line_without_another_side_has_targets_with_a_unit(results):
    assert cells(work_out(TIME, results)) == ["start", "0.75 s", "", "", "0.75 - 0.75", "", "<= 2 s", "<= 1 s", "aim"]


def test_a_row_with_a_loss_prints_no_figure_but_says_what_was_lost(results):
    row = Row("one", "eight publishers", "inserts", "losing", "one echo", 2.5, 4)
    figure = work_out(row, results)
    assert cells(figure) == ["one", "no figure", "", "", "", "", "2.5", "4", ""]
    text = "\n".join([*table([figure]), *markdown([figure], {}, [])])
    assert "one: LOSS in 1 of 1 runs: 3 undelivered" in text
    assert "20,000" not in text


def test_columns_stand_below_each_other(results):
    lines = table([work_out(RATE, results), work_out(TIME, results)])
    place = lines[0].index("at least")
    assert lines[2][place:].startswith("2.5")
    assert lines[3][place:].startswith("<= 2 s")
    assert lines[-1].split() == ["start", "time", "to", "start"]


def test_a_page_has_a_column_for_each_heading(results):
    results.add("absent", 0, Missing("Mosquitto is not installed"))
    figures = [work_out(RATE, results), work_out(Row("no", "t", "inserts", "absent"), results)]
    page = list(markdown(figures, {"kernel": "Linux 6"}, ["a note"]))
    assert {line.count("|") for line in page if line.startswith("|")} == {len(HEADINGS) + 1}
    assert "- kernel: Linux 6" in page
    assert "- a note" in page
    assert "- no: Mosquitto is not installed" in page


def test_json_has_figures_and_runs(results):
    data = json.loads(as_json([work_out(RATE, results)], {"kernel": "Linux 6"}, [], {"rounds": 1}, results))
    (row,) = data["rows"]
    assert (row["ratio"], row["at_least"], row["reached"], row["problem"]) == (61234 / 20000, 2.5, "yes", None)
    assert data["runs"]["losing"] == [{"round": 0, "LOSS": "3 undelivered"}]


def test_a_generator_at_its_limit_is_named(results):
    assert [line.partition(":")[0] for line in busy_generator([work_out(RATE, results), work_out(TIME, results)], results)] == ["one"]


def test_a_side_that_did_not_keep_up_with_a_steady_rate_is_named_once(results):
    rows = [Row(key, "t", "p99", "steady", "late jetstream") for key in ("a", "b")]
    results.add("steady", 0, {"p99": 1, "inserts": 1990, "asked": 2000})
    results.add("late jetstream", 0, {"p99": 900, "inserts": 1000, "asked": 2000})
    (line,) = left_behind([work_out(row, results) for row in rows], results)
    assert line.startswith("late jetstream: did 50% of the requests in time")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (123456, "123,000"),
        (1000, "1,000"),
        (999.4, "999"),
        (12.34, "12.3"),
        (9.876, "9.88"),
        (0.5, "0.50"),
        (0.0123, "0.012"),
        (0, "0.000"),
    ],
)
def test_numbers_have_three_digits_that_count(value, text):
    assert number(value) == text

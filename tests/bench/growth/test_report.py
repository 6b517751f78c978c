import json
from xml.etree import ElementTree

import pytest

from bench.figures import Lost, Missing, Results
from bench.growth.chart import chart
from bench.growth.report import SIDES, Measure, Side, as_json, lines_of, page, table

SIDE = Side("file", "Stored <messages>", "messages", (Measure("insert", "an insert", "us", 1.2, 1.05), Measure("bytes", "space", "bytes")))
SIZES = (100, 1000)


def results_of(*rounds):
    """What rounds gave, each a pair of values for the two sizes."""
    results = Results()
    for number, values in enumerate(rounds):
        for size, value in zip(SIZES, values, strict=True):
            results.add(f"file {size}", number, value if isinstance(value, Exception) else {"insert": value, "bytes": 150})
    return results


def test_a_ratio_is_the_median_of_the_rounds():
    insert, space = lines_of(SIDE, SIZES, results_of((10, 11), (20, 30), (10, 9)))
    assert (insert.values, insert.ratio, insert.low, insert.high) == ({100: 10, 1000: 11}, 1.1, 0.9, 1.5)
    assert (insert.verdict, space.verdict) == ("yes", "")


@pytest.mark.parametrize(("value", "verdict"), [(10.4, "aim"), (11.9, "yes"), (12.1, "NO")])
def test_what_grows_too_fast_is_named(value, verdict):
    assert lines_of(SIDE, SIZES, results_of((10, value)))[0].verdict == verdict


@pytest.mark.parametrize(("problem", "failed"), [(Lost("1 unanswered"), True), (Missing("install it"), False)])
def test_after_a_loss_there_is_no_figure(problem, failed):
    lines = lines_of(SIDE, SIZES, results_of((10, problem)))
    assert [line.failed for line in lines] == [failed, failed]
    text = "\n".join(table(SIDE, SIZES, lines))
    assert str(problem) in text
    assert "10.0 us" not in text
    assert ElementTree.fromstring(chart(SIDE, SIZES, lines)) is not None


def test_a_table_has_a_column_for_each_size():
    lines = lines_of(SIDE, SIZES, results_of((10, 13)))
    head, _, insert, space = table(SIDE, SIZES, lines)
    assert head == "| Stored <messages> | 100 | 1,000 | ratio | min - max | at most | aim | reached |"
    assert insert == "| an insert | 10.0 us | 13.0 us | 1.30 | 1.30 - 1.30 | 1.2 | 1.05 | NO |"
    assert space == "| space | 150 bytes | 150 bytes | 1.00 | 1.00 - 1.00 |  |  |  |"
    assert "growth-file.svg" in "\n".join(page([(SIDE, [head, insert])], {"processor": "one"}, ["a note"]))


def test_the_data_have_all_rounds():
    results = results_of((10, 13), (10, 12))
    data = json.loads(as_json([(SIDE, lines_of(SIDE, SIZES, results))], {}, [], results))
    assert data["sides"]["file"]["insert"]["values"] == {"100": 10, "1000": 12.5}
    assert len(data["runs"]["file 1000"]) == 2


def test_a_picture_has_a_bar_for_each_size_within_it():
    picture = ElementTree.fromstring(chart(SIDE, SIZES, lines_of(SIDE, SIZES, results_of((10, 900)))))
    width, height = float(picture.get("width")), float(picture.get("height"))
    bars = [element for element in picture.iter() if (element.get("class") or "").startswith("b-")]
    assert [bar.get("class") for bar in bars] == ["b-none", "b-no", "b-none", "b-none"]
    for bar in bars:
        assert 0 < float(bar.get("x")) < float(bar.get("x")) + float(bar.get("width")) <= width
        assert 0 < float(bar.get("y")) + float(bar.get("height")) <= height


def test_measures_have_names_of_their_own():
    for side in SIDES:
        assert len({measure.name for measure in side.measures}) == len(side.measures)

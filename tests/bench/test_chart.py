from xml.etree import ElementTree

import pytest

from bench.chart import chart
from bench.figures import Lost, Results, Row, work_out

SVG = "{http://www.w3.org/2000/svg}"
ROWS = (
    Row("one", "publishers <8> & more", "inserts", "mine", "one echo", 2.5, 4),
    Row("memory", "memory", "kilobytes", "mine", "one echo", 0.8, 0.6),
    Row("start", "start", "seconds", "mine", None, 2, 1),
    Row("list", "newest 100", "list", "mine", None, 5, 1),
)


def figures(mine, rows=ROWS):
    results = Results()
    results.add("mine", 0, mine)
    results.add("one echo", 0, {"inserts": 100, "kilobytes": 9})
    return [work_out(row, results) for row in rows]


def draw(found):
    return ElementTree.fromstring(chart(found, "a title & more"))


MEASURED = {"inserts": 300, "kilobytes": 6, "seconds": 0.9, "list": 7}


def test_each_figure_has_a_bar_and_marks_at_its_targets():
    picture = draw(figures(MEASURED))
    kinds = [element.get("class") for element in picture.iter()]
    # Three more bars and one more mark of each kind explain them.
    assert sum(kind is not None and kind.startswith("b-") for kind in kinds) == len(ROWS) + 3
    assert kinds.count("at") == kinds.count("aim") == len(ROWS) + 1
    assert [kind for kind in kinds if kind and kind.startswith("b-")][:4] == ["b-yes", "b-yes", "b-aim", "b-no"]


def test_marks_stand_where_a_bar_of_that_size_would_end():
    picture = draw(figures({"inserts": 250, "kilobytes": 6, "seconds": 0.9, "list": 7}))
    bar = next(element for element in picture.iter(f"{SVG}rect") if element.get("class") == "b-yes")
    mark = next(element for element in picture.iter(f"{SVG}line") if element.get("class") == "at")
    assert float(bar.get("x")) + float(bar.get("width")) == pytest.approx(float(mark.get("x1")), abs=0.2)


def test_everything_lies_within_the_picture():
    picture = draw(figures({"inserts": 90_000, "kilobytes": 0.001, "seconds": 60, "list": 0.001}))
    width, height = float(picture.get("width")), float(picture.get("height"))
    for element in picture.iter(f"{SVG}rect"):
        assert 0 <= float(element.get("x")) <= float(element.get("x")) + float(element.get("width")) <= width
        assert 0 <= float(element.get("y")) <= float(element.get("y")) + float(element.get("height")) <= height


def test_what_has_no_figure_or_no_target_is_left_out():
    rows = (ROWS[0], Row("pair", "without target", "inserts", "mine"))
    assert "without target" not in chart(figures(MEASURED, rows), "title")
    assert "publishers" not in chart(figures(Lost("1 unanswered")), "title")


def test_a_chart_of_nothing_is_a_picture_all_the_same():
    assert draw([]).tag == f"{SVG}svg"


def test_it_has_colours_for_dark_pages():
    assert "prefers-color-scheme: dark" in chart([], "title")

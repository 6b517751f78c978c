"""Lines of a kind are counted by the minute."""

from twisted.internet.task import Clock

from dhtwisted.logs.line_limit import LINES_PER_WINDOW, MAX_KINDS, PER_WINDOW, WINDOW, LineLimit


def flood(limit, count, kind=("a", "info"), level="info"):
    return sum(limit.admits(kind, level) for _ in range(count))


def test_a_flood_is_cut_and_counted():
    clock = Clock()
    limit = LineLimit(clock.seconds)
    assert flood(limit, LINES_PER_WINDOW + 5) == LINES_PER_WINDOW
    assert flood(limit, 3, ("b", "info")) == 3
    assert limit.left_out() == ()
    clock.advance(WINDOW)
    assert limit.left_out() == [(("a", "info"), 5)]
    assert limit.left_out() == ()
    assert flood(limit, 3) == 3


def test_more_is_allowed_while_somebody_looks_for_a_mistake():
    limit = LineLimit(Clock().seconds)
    assert flood(limit, 10_000, ("a", "debug"), "debug") == PER_WINDOW["debug"]
    assert limit.left_out(at_once=True) == [(("a", "debug"), 10_000 - PER_WINDOW["debug"])]


def test_the_number_of_kinds_is_bounded():
    limit = LineLimit(Clock().seconds)
    admitted = sum(limit.admits((number, "info"), "info") for number in range(MAX_KINDS * 3))
    assert admitted == MAX_KINDS + LINES_PER_WINDOW
    assert limit.left_out(at_once=True) == [(None, 2 * MAX_KINDS - LINES_PER_WINDOW)]


def test_a_clock_that_is_set_back_does_not_make_the_window_longer():
    clock = Clock()
    clock.advance(10**6)
    limit = LineLimit(clock.seconds)
    flood(limit, LINES_PER_WINDOW + 1)
    clock.rightNow = 5.0
    assert limit.left_out() == [(("a", "info"), 1)]
    assert flood(limit, 1) == 1
    clock.advance(WINDOW)
    assert not limit.left_out()
    assert flood(limit, LINES_PER_WINDOW) == LINES_PER_WINDOW

"""What a storage tells of itself."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock

from dhtwisted.errors import StorageUnavailable
from dhtwisted.kit.statistics import SECONDS, Histogram, StorageStatistics


@given(st.lists(st.integers(-5, 20)))
def test_a_value_counts_for_the_first_bound_that_it_does_not_exceed(values):
    histogram = Histogram((1, 5, 10))
    for value in values:
        histogram.observe(value)
    assert histogram.counts == [
        sum(value <= 1 for value in values),
        sum(1 < value <= 5 for value in values),
        sum(5 < value <= 10 for value in values),
        sum(value > 10 for value in values),
    ]
    assert histogram.sum == sum(values)


def test_a_commit_is_measured_to_its_end_and_its_result_is_left_alone():
    clock, done, results = Clock(), Deferred(), []
    statistics = StorageStatistics(clock.seconds)
    statistics.measure_commit(done, 7).addCallback(results.append)
    clock.advance(0.003)
    assert sum(statistics.commit_seconds.counts) == 0
    done.callback("stored")
    assert results == ["stored"]
    assert statistics.commit_seconds.counts[SECONDS.index(0.005)] == 1
    assert statistics.commit_operations.sum == 7
    assert sum(statistics.read_seconds.counts) == 0


def test_a_question_that_fails_is_measured_too():
    clock, done, failures = Clock(), Deferred(), []
    statistics = StorageStatistics(clock.seconds)
    statistics.measure_read(done).addErrback(failures.append)
    clock.advance(9)
    done.errback(StorageUnavailable("gone"))
    assert [failure.type for failure in failures] == [StorageUnavailable]
    assert statistics.read_seconds.counts[-1] == 1


def test_a_clock_that_is_set_back_makes_no_negative_time():
    times = [5.0, 1.0]
    statistics = StorageStatistics(lambda: times.pop(0))
    statistics.measure_read(succeed(None))
    assert (statistics.read_seconds.sum, statistics.read_seconds.counts[0]) == (0.0, 1)

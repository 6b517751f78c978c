"""Wire datetimes (WebSocket reference, section 5.1)."""

import contextlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtwisted.wire.timestamps import LATEST, format_in_ascii, format_many, format_timestamp, parse_timestamp

MOMENT = 1_767_323_045_678
SECOND = 1_767_323_045_000
DAY = 1_767_312_000_000


@pytest.mark.parametrize(
    ("text", "milliseconds"),
    [
        ("2026-01-02T03:04:05.678", MOMENT),
        ("2026-01-02T03:04:05", SECOND),
        ("2026-01-02T03:04:05.6", SECOND + 600),
        ("2026-01-02T03:04:05.67", SECOND + 670),
        ("2026-01-02T03:04:05.6789", MOMENT),
        ("2026-01-02T03:04:05.678999999", MOMENT),
        ("2026-01-02T03:04:05.678Z", MOMENT),
        ("2026-01-02T05:04:05.678+02:00", MOMENT),
        ("2026-01-02T05:04:05.678+0200", MOMENT),
        ("2026-01-01T21:34:05.678-05:30", MOMENT),
        ("2026-01-02", DAY),
        ("1970-01-01T00:00:00.000", 0),
        ("9999-12-31T23:59:59.999", LATEST),
        ("1767323045678", MOMENT),
        (1767323045678, MOMENT),
        (1767323045678.0, MOMENT),
        (0, 0),
    ],
)
def test_every_form_of_the_reference_is_read(text, milliseconds):
    assert parse_timestamp(text) == milliseconds


@pytest.mark.parametrize(
    "value",
    [
        "",
        "now",
        "2026-13-01T00:00:00",
        "2026-02-30",
        "2026-01-02T24:00:00",
        "2026-01-02T03:04:05.1234567890",
        "2026-01-02T03:04:05+2",
        "2026-01-02T03:04:05 GMT",
        "02.01.2026",
        "1969-12-31T23:59:59.999",
        "1970-01-01T00:00:00+01:00",
        "10000-01-01T00:00:00",
        "٢٠٢٦-01-02",
        "9" * 16,
        "9" * 5000,
        -1,
        LATEST + 1,
        1e300,
        float("nan"),
        float("inf"),
        True,
        None,
        [],
        {},
    ],
)
def test_anything_else_is_refused(value):
    with pytest.raises(ValueError):
        parse_timestamp(value)


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (MOMENT, "2026-01-02T03:04:05.678"),
        (SECOND, "2026-01-02T03:04:05.000"),
        (SECOND + 7, "2026-01-02T03:04:05.007"),
        (0, "1970-01-01T00:00:00.000"),
        (LATEST, "9999-12-31T23:59:59.999"),
    ],
)
def test_output_has_three_digits_and_no_zone(milliseconds, text):
    assert format_timestamp(milliseconds) == text


@given(st.integers(LATEST, 2 * LATEST))
def test_what_no_client_could_read_is_written_as_the_latest(milliseconds):
    assert format_timestamp(milliseconds) == "9999-12-31T23:59:59.999"


@given(st.integers(0, LATEST))
def test_what_is_written_is_read_again(milliseconds):
    assert parse_timestamp(format_timestamp(milliseconds)) == milliseconds
    assert parse_timestamp(format_timestamp(milliseconds) + "Z") == milliseconds


@given(st.text(max_size=40))
def test_no_text_does_worse_than_a_value_error(text):
    with contextlib.suppress(ValueError):
        assert 0 <= parse_timestamp(text) <= LATEST


def of_datetime(milliseconds):
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    return moment.replace(tzinfo=None).isoformat(timespec="milliseconds")


@given(st.integers(0, LATEST))
def test_any_time_is_written_as_datetime_writes_it(milliseconds):
    assert format_timestamp(milliseconds) == of_datetime(milliseconds)


near = st.builds(lambda minute, rest: minute * 60_000 + rest, st.integers(0, 3), st.sampled_from([0, 1, 999, 1000, 59_000, 59_999]))
ends_of_days = st.builds(lambda day, rest: day * 86_400_000 - rest, st.integers(1, LATEST // 86_400_000), st.integers(0, 1) | st.just(1000))


@given(st.lists(st.integers(0, LATEST) | near | ends_of_days | st.integers(LATEST - 2, LATEST + 2)))
def test_many_times_are_written_like_each_alone(times):
    assert format_many(times) == [of_datetime(min(time, LATEST)).encode() for time in times]
    assert list(map(format_in_ascii, times)) == format_many(times)


def test_every_second_of_a_day_is_written_as_datetime_writes_it():
    times = [second * 1000 + second % 1000 for second in range(86_400)]
    assert format_many(times) == [of_datetime(time).encode() for time in times]

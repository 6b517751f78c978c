"""Times of the API to and from integer milliseconds since 1970 UTC (WebSocket reference, section 5.1)."""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = 253402300799999
"""9999-12-31T23:59:59.999, the last time that a year of four digits can show."""

_FORM = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)"
    r"(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{0,9}))?)?\s*(Z|[+-]\d\d:?\d\d)?)?",
    re.ASCII,
)


def parse_timestamp(value: Any) -> int:
    """Read a timestamp as clients send it.

    It may be ``yyyy-MM-dd'T'HH:mm:ss`` with up to nine fraction digits, which are cut to milliseconds, and with a zone; without a zone it
    is UTC. It may be a date alone. It may be milliseconds since 1970, as a number or as digits.

    :returns: milliseconds.
    :raises ValueError: it is something else, or its year is not from 1970 to 9999.
    """
    if isinstance(value, str):
        milliseconds = int(value) if value.isascii() and value.isdigit() and len(value) < 16 else _parse_text(value)
    elif isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        raise ValueError("not a timestamp")
    else:
        milliseconds = int(min(max(value, -1), LATEST + 1))
    if not 0 <= milliseconds <= LATEST:
        raise ValueError("timestamp outside the years 1970 to 9999")
    return milliseconds


def _parse_text(text: str) -> int:
    match = _FORM.fullmatch(text)
    if match is None:
        raise ValueError("not a timestamp")
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    moment = datetime(int(year), int(month), int(day), int(hour or 0), int(minute or 0), int(second or 0), tzinfo=UTC)
    milliseconds = (moment - EPOCH) // timedelta(milliseconds=1) + int(((fraction or "") + "000")[:3])
    if zone not in (None, "Z"):
        offset = int(zone[1:3]) * 60 + int(zone[-2:])
        milliseconds -= (offset if zone[0] == "+" else -offset) * 60_000
    return milliseconds


_DAY = 86_400_000
_MINUTES = tuple(f"{minute // 60:02d}:{minute % 60:02d}:" for minute in range(24 * 60))
_SECONDS = tuple(f"{second:02d}" for second in range(60))
_FRACTIONS = tuple(f".{rest:03d}" for rest in range(1000))


@lru_cache(maxsize=64)
def _format_day(day: int) -> str:
    return (EPOCH + timedelta(days=day)).strftime("%Y-%m-%dT")


def format_one_of_many(milliseconds: int) -> str:
    """The same as :func:`format_timestamp`, for the times of a page of messages, which are usually all different.

    The parts come from tables, and it takes 0.3 us. A look into a cache would take a third of that, and find nothing.
    """
    day, rest = divmod(milliseconds if milliseconds < LATEST else LATEST, _DAY)
    seconds, rest = divmod(rest, 1000)
    minute, second = divmod(seconds, 60)
    return f"{_format_day(day)}{_MINUTES[minute]}{_SECONDS[second]}{_FRACTIONS[rest]}"


@lru_cache(maxsize=64)
def _format_second(second: int) -> str:
    return format_one_of_many(second * 1000).removesuffix(_FRACTIONS[0])


@lru_cache(maxsize=64)
def format_timestamp(milliseconds: int) -> str:
    """Write a timestamp as every client can read it: UTC, exactly three fraction digits, no zone.

    Messages of one commit have the same time, and it takes 0.05 us to write it again. Another time in the same second takes 0.2 us. A time
    later than :data:`LATEST` is written as :data:`LATEST`: each update of a command that its client dated there moves it on.
    """
    second, rest = divmod(milliseconds if milliseconds < LATEST else LATEST, 1000)
    return _format_second(second) + _FRACTIONS[rest]

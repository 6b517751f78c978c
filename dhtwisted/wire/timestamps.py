"""Times of the API to and from integer milliseconds since 1970 UTC (WebSocket reference, section 5.1)."""

import re
from collections.abc import Iterable
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


_FRACTIONS = tuple(f".{rest:03d}" for rest in range(1000))
_FRACTIONS_IN_BYTES = tuple(map(str.encode, _FRACTIONS))
_SECONDS = tuple(b"%02d" % second for second in range(60))
_MINUTES = tuple(b"%02d:%02d:" % divmod(minute, 60) for minute in range(24 * 60))


@lru_cache(maxsize=64)
def _format_day(day: int) -> bytes:
    return (EPOCH + timedelta(days=day)).strftime("%Y-%m-%dT").encode()


def format_many(times: Iterable[int]) -> list[bytes]:
    """Write the times of many messages, each as :func:`format_timestamp` and in ASCII.

    All but the day comes from tables: it takes 0.2 us for each, and 0.02 us for one that is equal to that before it.
    """
    texts = []
    last = last_minute = None
    for time in times:
        if time != last:
            last = time
            minute, rest = divmod(time if time < LATEST else LATEST, 60_000)
            if minute != last_minute:
                last_minute = minute
                beginning = _format_day(minute // 1440) + _MINUTES[minute % 1440]
            text = beginning + _SECONDS[rest // 1000] + _FRACTIONS_IN_BYTES[rest % 1000]
        texts.append(text)
    return texts


@lru_cache(maxsize=64)
def _format_second(second: int) -> str:
    [text] = format_many([second * 1000])
    return text.decode().removesuffix(_FRACTIONS[0])


@lru_cache(maxsize=64)
def format_timestamp(milliseconds: int) -> str:
    """Write a timestamp as every client can read it: UTC, exactly three fraction digits, no zone.

    Messages of one commit have the same time, and it takes 0.05 us to write it again. Another time in the same second takes 0.2 us. A time
    later than :data:`LATEST` is written as :data:`LATEST`: each update of a command that its client dated there moves it on.
    """
    second, rest = divmod(milliseconds if milliseconds < LATEST else LATEST, 1000)
    return _format_second(second) + _FRACTIONS[rest]


@lru_cache(maxsize=64)
def format_in_ascii(milliseconds: int) -> bytes:
    """The same in bytes. Unlike :func:`format_many` it is for times that are nearly always equal to one of the last few."""
    return format_timestamp(milliseconds).encode()

"""Wire datetimes to and from integer milliseconds since 1970 UTC (WebSocket reference, section 5.1)."""

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
LATEST = 253402300799999
"""9999-12-31T23:59:59.999, the last instant that the four-digit year of the wire form can show."""

_FORM = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)"
    r"(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{0,9}))?)?\s*(Z|[+-]\d\d:?\d\d)?)?",
    re.ASCII,
)


def parse_timestamp(value):
    """Read a timestamp as clients send it.

    Accepts ``yyyy-MM-dd'T'HH:mm:ss`` with up to nine fraction digits (cut to milliseconds) and an optional zone (UTC without one), a date
    alone, and epoch milliseconds as number or digits.

    :returns: milliseconds.
    :raises ValueError: anything else, or a year outside 1970-9999.
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


def _parse_text(text):
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


@lru_cache(maxsize=64)
def _format_second(second):
    return (EPOCH + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%S")


_FRACTIONS = tuple(f".{rest:03d}" for rest in range(1000))


@lru_cache(maxsize=64)
def format_timestamp(milliseconds):
    """Write a timestamp as every client can read it: UTC, exactly three fraction digits, no zone.

    The messages of one commit share their time, and those of one second its text: 0.05 us and 0.2 instead of 2. What lies behind
    :data:`LATEST` is written as that: a command that a client dated there moves on with each update.
    """
    second, rest = divmod(milliseconds if milliseconds < LATEST else LATEST, 1000)
    return _format_second(second) + _FRACTIONS[rest]

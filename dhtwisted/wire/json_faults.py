"""Says what is wrong with JSON that msgspec refuses. The words are ours, and repeat no value that was sent.

The text is read a second time. This costs nothing for requests that can be read.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

TOO_LARGE = "has a number that is too large: numbers must fit into a double (about 1.8e308) and have at most 4,300 digits"
SURROGATE = "has half of a surrogate pair (an escape from \\ud800 to \\udfff without the other half), which is not a character"
CONSTANT = "is not JSON: NaN and Infinity are not JSON numbers"
NESTED = "is nested too deeply"
NO_OBJECT = "must be a JSON object"
UNREADABLE = "cannot be read as JSON"

_HALF = re.compile(rb"\\u[dD][89a-fA-F]")


def read_object(text: bytes) -> tuple[dict[str, Any] | None, str]:
    """Read a JSON object that msgspec refuses, as far as Python's own reader can.

    :returns: ``(members, fault)``. The members have infinity in place of numbers that are too large; ``None`` if the text is no object. The
        fault says what is wrong with the text, such as ``is not JSON: ...``.
    """
    value, found = _read(text)
    return (value, found) if isinstance(value, dict) else (None, NO_OBJECT if found == UNREADABLE else found)


def fault(text: bytes) -> str:
    """What is wrong with JSON that msgspec refuses, such as ``is not JSON: ...``."""
    return _read(text)[1]


def _read(text: bytes) -> tuple[Any, str]:
    are_large = []

    def number(digits: str) -> int | float:
        value = _number(digits)
        if value in (math.inf, -math.inf):
            are_large.append(True)
        return value

    try:
        value = json.loads(text.decode(), parse_constant=_refuse_constant, parse_int=number, parse_float=number)
    except UnicodeDecodeError as error:
        return None, f"is not UTF-8 at byte {error.start + 1}"
    except json.JSONDecodeError as error:
        return None, f"is not JSON: it cannot be read from character {error.pos + 1} on"
    except RecursionError:
        return None, NESTED
    except ValueError:
        return None, CONSTANT
    return value, TOO_LARGE if are_large else SURROGATE if _HALF.search(text) else UNREADABLE


def _number(digits: str) -> int | float:
    """The number; infinity for an integer that has too many digits for Python."""
    try:
        return int(digits)
    except ValueError:
        return float(digits)


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")

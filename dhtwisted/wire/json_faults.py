"""Says what is wrong with JSON that msgspec refuses: for the one who sent it, in words of ours and without any of its values.

It reads the text a second time, which only those pay for who sent what cannot be read.
"""

from __future__ import annotations

import json
import math
import re

TOO_LARGE = "has a number that is too large: numbers must fit into a double (about 1.8e308) and have at most 4,300 digits"
SURROGATE = "has half of a surrogate pair (an escape from \\ud800 to \\udfff without the other half), which is not a character"
CONSTANT = "is not JSON: NaN and Infinity are not JSON numbers"
NESTED = "is nested too deeply"
NO_OBJECT = "must be a JSON object"
UNREADABLE = "cannot be read as JSON"

_HALF = re.compile(rb"\\u[dD][89a-fA-F]")


def read_object(text):
    """Read what msgspec refuses for a JSON object, as far as Python's own reader can.

    :param text: bytes.
    :returns: ``(members, fault)``: what was read as a dict, with the infinite for numbers that are too large, ``None`` for no object; and
        what is wrong with the text, to be said of it: ``is not JSON: ...``.
    """
    value, found = _read(text)
    return (value, found) if isinstance(value, dict) else (None, NO_OBJECT if found == UNREADABLE else found)


def fault(text):
    """What is wrong with JSON of any sort that msgspec refuses, to be said of it.

    :param text: bytes.
    """
    return _read(text)[1]


def _read(text):
    are_large = []

    def number(digits):
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


def _number(digits):
    """A number, or the infinite for an integer of more digits than others read."""
    try:
        return int(digits)
    except ValueError:
        return float(digits)


def _refuse_constant(name):
    raise ValueError(f"{name} is no JSON")

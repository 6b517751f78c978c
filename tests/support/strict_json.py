"""JSON as the strictest clients read it: what any of them refuses is a :class:`ValueError`."""

import json
import math
from typing import Any


def read(text: str | bytes) -> Any:
    """Read a text that the server has sent.

    :raises ValueError: it is not UTF-8 or not JSON, or has a lone surrogate, a number too large for a double, or an integer with more
        digits than Python reads.
    """
    value = json.loads(text.decode() if isinstance(text, bytes) else text, parse_constant=_refuse, parse_float=_finite)
    # UTF-8 cannot encode a lone surrogate, neither in a value nor in a key.
    json.dumps(value, ensure_ascii=False).encode()
    return value


def _refuse(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{digits[:50]} is beyond a double")
    return number

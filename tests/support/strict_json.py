"""JSON as the strictest clients read it: what any of them would stumble over is a :class:`ValueError`."""

import json
import math


def read(text):
    """Read what the server sent.

    :param text: bytes or text.
    :raises ValueError: it is no UTF-8 or no JSON, or has a lone surrogate, a number beyond a double, or an integer of more digits than
        Python reads.
    """
    value = json.loads(text.decode() if isinstance(text, bytes) else text, parse_constant=_refuse, parse_float=_finite)
    # A lone surrogate is no UTF-8, as a key neither.
    json.dumps(value, ensure_ascii=False).encode()
    return value


def _refuse(name):
    raise ValueError(f"{name} is no JSON")


def _finite(digits):
    number = float(digits)
    if math.isinf(number):
        raise ValueError(f"{digits[:50]} is beyond a double")
    return number

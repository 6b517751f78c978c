"""What the value of an option may look like, in a TOML file and as text in the environment or on the command line.

A kind has ``expected``, the form in words for error messages, and five methods: ``from_toml`` takes a value of the file, ``from_text``
takes text, ``to_toml`` writes a value back, ``show`` names a wrong value in a message, ``holds_secret`` tells of passwords. The first two
raise ``ValueError`` with a reason that begins where ``show`` ends.
"""

import json
import re

from dhtwisted.logs.masking import mask

_SIZES = {"": 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZE = re.compile(r"(\d{1,12})\s*([KMG]iB|B)?")
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s*(ms|s|m|h|d)")
_INTEGER = re.compile(r"-?\d{1,18}")


class Kind:
    """What the kinds share."""

    def show(self, value):
        """Name a value, however long it is."""
        text = repr(value)
        return text if len(text) <= 80 else f"{text[:77]}..."

    def holds_secret(self, value):
        """Whether a right value has a password in it."""
        return False


class Text(Kind):
    """Any text of at least so many characters."""

    def __init__(self, at_least=0):
        self._at_least = at_least
        self.expected = f"text of at least {at_least} characters" if at_least else "text"

    def from_toml(self, value):
        if not isinstance(value, str):
            raise ValueError("is no text")
        return self.from_text(value)

    def from_text(self, text):
        if "\0" in text or not text.isprintable():
            raise ValueError("has control characters")
        if len(text) < self._at_least:
            raise ValueError("is too short")
        return text

    def to_toml(self, value):
        return json.dumps(value, ensure_ascii=False)


class Checked(Text):
    """Text of a form of its own; ``check`` raises ``ValueError`` for any other."""

    def __init__(self, expected="text", check=None):
        super().__init__()
        self.expected = expected
        self._check = check

    def from_text(self, text):
        if self._check is not None:
            self._check(super().from_text(text))
        return super().from_text(text)


class Hidden(Checked):
    """Text that no message may show, such as a password."""

    def show(self, value):
        return "the value"

    def holds_secret(self, value):
        return bool(value)


class Specification(Text):
    """``name:argument``. Only the name is ever shown: an argument may hold a password."""

    def __init__(self, check):
        super().__init__()
        self.expected = "name:argument; devicehive --help-providers lists what is installed"
        self._check = check

    def show(self, value):
        return super().show(value.partition(":")[0]) if isinstance(value, str) else "the value"

    def holds_secret(self, value):
        return mask(value) != value

    def from_text(self, text):
        self._check(super().from_text(text))
        return text


class Choice(Text):
    """One of a few words."""

    def __init__(self, *words):
        super().__init__()
        self._words = words
        self.expected = " or ".join(f'"{word}"' for word in words)

    def from_text(self, text):
        if text not in self._words:
            raise ValueError("is not known")
        return text


class Flag(Kind):
    """True or false."""

    expected = "true or false"

    def from_toml(self, value):
        if not isinstance(value, bool):
            raise ValueError("is neither true nor false")
        return value

    def from_text(self, text):
        if text.lower() not in ("true", "false"):
            raise ValueError("is neither true nor false")
        return text.lower() == "true"

    def to_toml(self, value):
        return "true" if value else "false"


class Integer(Kind):
    """A whole number from ``lowest`` to ``highest``."""

    def __init__(self, lowest=0, highest=2**31 - 1):
        self._lowest, self._highest = lowest, highest
        self.expected = f"a whole number from {lowest} to {highest}"

    def from_toml(self, value):
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError("is no whole number")
        if not self._lowest <= value <= self._highest:
            raise ValueError("is out of range")
        return value

    def from_text(self, text):
        if _INTEGER.fullmatch(text) is None:
            raise ValueError("is no whole number")
        return self.from_toml(int(text))

    def to_toml(self, value):
        return str(value)


class Size(Kind):
    """Bytes, as an integer.

    :param most: of GiB.
    """

    def __init__(self, most=2):
        self._most = most * _SIZES["GiB"]
        self.expected = f'a number of bytes or text such as "64KiB" or "1MiB", at most {most} GiB'

    def from_toml(self, value):
        if isinstance(value, str):
            return self.from_text(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError("is no size")
        if not 0 <= value <= self._most:
            raise ValueError("is out of range")
        return value

    def from_text(self, text):
        match = _SIZE.fullmatch(text)
        if match is None:
            raise ValueError("is no size")
        return self.from_toml(int(match[1]) * _SIZES[match[2] or ""])

    def to_toml(self, value):
        for unit in ("GiB", "MiB", "KiB"):
            if value and value % _SIZES[unit] == 0:
                return f'"{value // _SIZES[unit]}{unit}"'
        return str(value)


class Duration(Kind):
    """Seconds, as a float. Always with a unit, except for 0: a bare number would leave open what it counts."""

    def __init__(self, lowest=0, highest=100 * 366 * 86400):
        self._lowest, self._highest = lowest, highest
        self.expected = 'text such as "90s", "30m", "12h" or "7d", ' + (f"at least {lowest:g}s" if lowest else '"0s" for none')

    def from_toml(self, value):
        if isinstance(value, str):
            return self.from_text(value)
        if isinstance(value, bool) or value != 0:
            raise ValueError("is no duration")
        return self._within_range(0.0)

    def from_text(self, text):
        match = _DURATION.fullmatch(text)
        if match is None:
            return self.from_toml(0 if text == "0" else None)
        return self._within_range(float(match[1]) * _SECONDS[match[2]])

    def _within_range(self, seconds):
        if not self._lowest <= seconds <= self._highest:
            raise ValueError("is out of range")
        return seconds

    def to_toml(self, value):
        for unit in ("d", "h", "m"):
            if value and value % _SECONDS[unit] == 0:
                return f'"{int(value // _SECONDS[unit])}{unit}"'
        return f'"{value:.3f}'.rstrip("0").rstrip(".") + 's"'


class List(Kind):
    """Several texts; separated by commas where it is given as one text. ``check`` raises ``ValueError`` for a bad one."""

    def __init__(self, expected, check, at_least=0):
        self.expected = f"a list, each item {expected}"
        self._check = check
        self._at_least = at_least

    def show(self, value):
        return "it" if isinstance(value, (list, tuple)) else super().show(value)

    def from_toml(self, value):
        if not isinstance(value, (list, tuple)):
            raise ValueError("is no list")
        if len(value) < self._at_least:
            raise ValueError("is empty")
        return tuple(self._item(item) for item in value)

    def from_text(self, text):
        return self.from_toml([item.strip() for item in text.split(",")] if text.strip() or self._at_least else [])

    def to_toml(self, value):
        return f"[{', '.join(json.dumps(item) for item in value)}]"

    def _item(self, item):
        if not isinstance(item, str):
            raise ValueError("holds something that is no text")
        try:
            self._check(item)
        except ValueError as error:
            raise ValueError(f"holds {super().show(item)}, which {error}") from error
        return item

"""The forms of option values, in a TOML file and as text in the environment or on the command line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from dhtwisted.logs.masking import mask

_SIZES = {"": 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZE = re.compile(r"(\d{1,12})\s*([KMG]iB|B)?")
_DURATION = re.compile(r"(\d{1,9}(?:\.\d{1,6})?)\s*(ms|s|m|h|d)")
_INTEGER = re.compile(r"-?\d{1,18}")


class Kind:
    """The form of an option.

    :ivar expected: the form in words, for error messages.
    """

    expected: str

    def from_toml(self, value: Any) -> Any:
        """Read a value of a TOML file.

        :raises ValueError: it has another form. The text continues a sentence that begins with :meth:`show`.
        """
        raise NotImplementedError

    def to_json(self, value: Any) -> Any:
        """A value of the option in terms of JSON."""
        return value

    def from_text(self, text: str) -> Any:
        """Read a value of the environment or of the command line.

        :raises ValueError: as :meth:`from_toml`.
        """
        raise NotImplementedError

    def to_toml(self, value: Any) -> str:
        """Write a value as in a TOML file."""
        raise NotImplementedError

    def show(self, value: Any) -> str:
        """Name a wrong value in a message, in limited length."""
        text = repr(value)
        return text if len(text) <= 80 else f"{text[:77]}..."

    def explain(self, value: Any, error: ValueError) -> str:
        """Say what is wrong with a value, and what is expected.

        :param error: of :meth:`from_toml` or :meth:`from_text`.
        """
        return f"{self.show(value)} {error}; expected {self.expected}"

    def holds_secret(self, value: Any) -> bool:
        """Whether a correct value contains a password."""
        return False


class Text(Kind):
    """Any text with a minimum length."""

    def __init__(self, at_least: int = 0) -> None:
        self._at_least = at_least
        self.expected = f"text of at least {at_least} characters" if at_least else "text"

    def from_toml(self, value: Any) -> Any:
        if not isinstance(value, str):
            raise ValueError("is no text")
        return self.from_text(value)

    def from_text(self, text: str) -> Any:
        if "\0" in text or not text.isprintable():
            raise ValueError("has control characters")
        if len(text) < self._at_least:
            raise ValueError("is too short")
        return text

    def to_toml(self, value: Any) -> str:
        return json.dumps(value, ensure_ascii=False)


class Checked(Text):
    """Text of a special form.

    :param check: raises ``ValueError`` for any other.
    """

    def __init__(self, expected: str = "text", check: Callable[[str], object] | None = None) -> None:
        super().__init__()
        self.expected = expected
        self._check = check

    def from_text(self, text: str) -> Any:
        if self._check is not None:
            self._check(super().from_text(text))
        return super().from_text(text)


class Hidden(Checked):
    """Text that messages must not show, such as a password."""

    def show(self, value: Any) -> str:
        return "the value"

    def holds_secret(self, value: Any) -> bool:
        return bool(value)


class Specification(Text):
    """``name:argument``. Messages show only the name, because the argument can contain a password."""

    def __init__(self, check: Callable[[str], object]) -> None:
        super().__init__()
        self.expected = "name:argument; devicehive --help-providers lists what is installed"
        self._check = check

    def show(self, value: Any) -> str:
        return super().show(value.partition(":")[0]) if isinstance(value, str) else "the value"

    def holds_secret(self, value: Any) -> bool:
        return mask(value) != value

    def from_text(self, text: str) -> Any:
        self._check(super().from_text(text))
        return text


class Choice(Text):
    """One of a few words."""

    def __init__(self, *words: str) -> None:
        super().__init__()
        self._words = words
        self.expected = " or ".join(f'"{word}"' for word in words)

    def from_text(self, text: str) -> Any:
        if text not in self._words:
            raise ValueError("is not known")
        return text


class Flag(Kind):
    """True or false."""

    expected = "true or false"

    def from_toml(self, value: Any) -> Any:
        if not isinstance(value, bool):
            raise ValueError("is neither true nor false")
        return value

    def from_text(self, text: str) -> Any:
        if text.lower() not in ("true", "false"):
            raise ValueError("is neither true nor false")
        return text.lower() == "true"

    def to_toml(self, value: Any) -> str:
        return "true" if value else "false"


class Integer(Kind):
    """A whole number from ``lowest`` to ``highest``."""

    def __init__(self, lowest: int = 0, highest: int = 2**31 - 1) -> None:
        self._lowest, self._highest = lowest, highest
        self.expected = f"a whole number from {lowest} to {highest}"

    def from_toml(self, value: Any) -> Any:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError("is no whole number")
        if not self._lowest <= value <= self._highest:
            raise ValueError("is out of range")
        return value

    def from_text(self, text: str) -> Any:
        if _INTEGER.fullmatch(text) is None:
            raise ValueError("is no whole number")
        return self.from_toml(int(text))

    def to_toml(self, value: Any) -> str:
        return str(value)


class Size(Kind):
    """Bytes, as an integer.

    :param most: the highest value, in GiB.
    :param least: the lowest value besides 0, in bytes.
    """

    def __init__(self, most: int = 2, least: int = 0) -> None:
        self._most, self._least = most * _SIZES["GiB"], least
        lowest = f"0 or at least {least} bytes, " if least else ""
        self.expected = f'a number of bytes or text such as "64KiB" or "1MiB", {lowest}at most {most} GiB'

    def from_toml(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.from_text(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError("is no size")
        if value and not self._least <= value <= self._most:
            raise ValueError("is out of range")
        return value

    def from_text(self, text: str) -> Any:
        match = _SIZE.fullmatch(text)
        if match is None:
            raise ValueError("is no size")
        return self.from_toml(int(match[1]) * _SIZES[match[2] or ""])

    def to_toml(self, value: Any) -> str:
        for unit in ("GiB", "MiB", "KiB"):
            if value and value % _SIZES[unit] == 0:
                return f'"{value // _SIZES[unit]}{unit}"'
        return str(value)


class Duration(Kind):
    """Seconds, as a float. A value needs a unit, except 0: a number without one would be ambiguous."""

    def __init__(self, lowest: float = 0, highest: float = 100 * 366 * 86400) -> None:
        self._lowest, self._highest = lowest, highest
        self.expected = 'text such as "90s", "30m", "12h" or "7d", ' + (f"at least {lowest:g}s" if lowest else '"0s" for none')

    def from_toml(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.from_text(value)
        if isinstance(value, bool) or value != 0:
            raise ValueError("is no duration")
        return self._within_range(0.0)

    def from_text(self, text: str) -> Any:
        match = _DURATION.fullmatch(text)
        if match is None:
            return self.from_toml(0 if text == "0" else None)
        return self._within_range(float(match[1]) * _SECONDS[match[2]])

    def _within_range(self, seconds: float) -> float:
        if not self._lowest <= seconds <= self._highest:
            raise ValueError("is out of range")
        return seconds

    def to_toml(self, value: Any) -> str:
        for unit in ("d", "h", "m"):
            if value and value % _SECONDS[unit] == 0:
                return f'"{int(value // _SECONDS[unit])}{unit}"'
        return f'"{value:.3f}'.rstrip("0").rstrip(".") + 's"'


class List(Kind):
    """Several texts. In the environment and on the command line, commas separate them.

    :param check: raises ``ValueError`` for a wrong item.
    """

    def __init__(self, expected: str, check: Callable[[str], object], at_least: int = 0) -> None:
        self.expected = f"a list, each item {expected}"
        self._check = check
        self._at_least = at_least

    def show(self, value: Any) -> str:
        return "it" if isinstance(value, (list, tuple)) else super().show(value)

    def from_toml(self, value: Any) -> Any:
        if not isinstance(value, (list, tuple)):
            raise ValueError("is no list")
        if len(value) < self._at_least:
            raise ValueError("is empty")
        return tuple(self._item(item) for item in value)

    def from_text(self, text: str) -> Any:
        return self.from_toml([item.strip() for item in text.split(",")] if text.strip() or self._at_least else [])

    def to_toml(self, value: Any) -> str:
        return f"[{', '.join(json.dumps(item) for item in value)}]"

    def _item(self, item: Any) -> str:
        if not isinstance(item, str):
            raise ValueError("contains something that is no text")
        try:
            self._check(item)
        except ValueError as error:
            raise ValueError(f"contains {super().show(item)}, which {error}") from error
        return item

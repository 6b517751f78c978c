"""Names in messages about a configuration."""

from collections.abc import Iterable
from difflib import get_close_matches


def printable(name: str) -> str:
    """A name of a file, safe to show in a terminal."""
    return name if name.isprintable() and name else ascii(name)


def suggestion(name: str, known: Iterable[str]) -> str:
    """What was probably meant by a name that is not known."""
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"

"""Limits the lines of each kind in the log. Clients can cause lines, and must not be able to fill a disk."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from threading import Lock
from typing import Any

WINDOW = 60.0
"""Seconds."""

PER_WINDOW = {"debug": 600}
LINES_PER_WINDOW = 60
MAX_KINDS = 1000
"""A kind is a message without its values, so the code has a fixed number of them. A library may create more at run time."""


class LineLimit:
    """Counts the lines of each kind, in windows of a minute. Any thread may call it.

    :param clock: returns the time in seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = Lock()
        self._counts: dict[Any, int] = {}
        self._ends_at = clock() + WINDOW

    def admits(self, kind: Hashable, level: str | None) -> bool:
        """Count a line.

        :param kind: the same for lines that differ only in their values.
        :returns: whether to write it.
        """
        with self._lock:
            if kind not in self._counts and len(self._counts) >= MAX_KINDS:
                kind = None
            count = self._counts[kind] = self._counts.get(kind, 0) + 1
        return count <= PER_WINDOW.get(level or "", LINES_PER_WINDOW)

    def left_out(self, at_once: bool = False) -> Sequence[tuple[Any, int]]:
        """Start a new window when the last has ended.

        :param at_once: start it in any case.
        :returns: pairs of a kind and how many of its lines were left out in the last window.
        """
        # A clock that is set back must not make the window longer.
        if not at_once and self._ends_at - WINDOW <= self._clock() < self._ends_at:
            return ()
        with self._lock:
            counts, self._counts = self._counts, {}
            self._ends_at = self._clock() + WINDOW
        found = []
        for kind, count in counts.items():
            level = kind[1] if kind is not None else ""
            excess = count - PER_WINDOW.get(level, LINES_PER_WINDOW)
            if excess > 0:
                found.append((kind, excess))
        return found

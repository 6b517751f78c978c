"""Averages per minute over 1, 5 and 15 minutes, as Mosquitto has them below ``$SYS/broker/load/``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import exp

MINUTE = 60.0
WINDOWS = {"1min": MINUTE, "5min": 5 * MINUTE, "15min": 15 * MINUTE}
"""The last level of the topic -> seconds."""


class LoadAverages:
    """Exponential averages: what is as old as a window counts with a weight of 1/e. They begin at 0."""

    def __init__(self) -> None:
        self._totals: dict[str, int] = {}
        self._averages: dict[str, dict[str, float]] = {}

    def add(self, totals: Mapping[str, int], seconds: float) -> None:
        """Take what has been counted up to now.

        :param totals: name -> how many there were since the start.
        :param seconds: the time since the last call. If the clock was set back, only the totals are taken.
        """
        for name, total in totals.items():
            averages = self._averages.setdefault(name, dict.fromkeys(WINDOWS, 0.0))
            if seconds > 0:
                rate = (total - self._totals.get(name, 0)) * MINUTE / seconds
                for window, length in WINDOWS.items():
                    averages[window] = rate + (averages[window] - rate) * exp(-seconds / length)
        self._totals = dict(totals)

    def averages(self) -> Iterator[tuple[str, float]]:
        """``name/window`` and how many there are per minute."""
        for name, averages in self._averages.items():
            for window, value in averages.items():
                yield f"{name}/{window}", value

"""A clock that does not follow the system clock at once when that jumps forward.

Old messages are deleted for good. A system clock that is wrong for an hour, by the mistake of a time server or a person, must not delete
them. So a jump counts only after it has lasted for a day, and within that day somebody can correct it.
"""

from collections.abc import Callable

GRACE = 86400.0
"""Seconds that a jump must last until it counts."""

TOLERANCE = 60.0
"""Seconds of a jump that count at once: clocks are corrected in small steps."""


class PatientClock:
    """Gives the time to code that deletes by it. A step back counts at once, since it makes fewer messages old.

    :param wall: gives the system time in seconds; somebody may set it.
    :param steady: gives seconds of a clock that nobody sets.
    :param known: a time in seconds that has certainly passed, such as that of the newest message. If ``wall`` is far ahead of it, that is
        a jump.
    """

    def __init__(self, wall: Callable[[], float], steady: Callable[[], float], known: float) -> None:
        self._wall, self._steady = wall, steady
        self._accepted = min(known, wall())
        self._read_at = steady()
        self._jump = 0.0
        self._jumped_at: float | None = None

    @property
    def pending_jump(self) -> float:
        """Seconds of a jump that do not count yet."""
        return self._jump

    def seconds(self) -> float:
        """The time, in seconds."""
        wall, now = self._wall(), self._steady()
        expected = self._accepted + now - self._read_at
        self._read_at = now
        self._accepted = wall if self._counts(wall - expected, now) else expected
        return self._accepted

    def _counts(self, jump: float, now: float) -> bool:
        if jump - self._jump > TOLERANCE:
            self._jump, self._jumped_at = jump, now
        elif jump <= TOLERANCE or (self._jumped_at is not None and now - self._jumped_at >= GRACE):
            self._jump, self._jumped_at = 0.0, None
            return True
        return False

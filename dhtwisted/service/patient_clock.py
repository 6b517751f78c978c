"""A clock that does not follow at once when the machine's clock leaps forward.

What is deleted because it is old is gone for good, also when the clock was wrong for an hour only, by the mistake of a time server or of
somebody at the keyboard. So a leap is not believed before it has lasted for a day, in which it can be mended.
"""

GRACE = 86400.0
"""Seconds for which a leap must last."""

TOLERANCE = 60.0
"""Seconds of a leap that are believed at once: clocks are corrected in small steps."""


class PatientClock:
    """Gives the time to one who deletes by it. Set back, the clock is believed at once: then less is old.

    :param wall: gives the time in seconds; it may be set.
    :param steady: gives seconds that nobody sets.
    :param known: a time in seconds that is certainly over, such as that of the newest message; a ``wall`` far from it is a leap.
    """

    def __init__(self, wall, steady, known):
        self._wall, self._steady = wall, steady
        self._believed = min(known, wall())
        self._read_at = steady()
        self._leap = 0.0
        self._leaps_since = None

    @property
    def leap(self):
        """Seconds that are not believed yet."""
        return self._leap

    def seconds(self):
        """The time."""
        wall, now = self._wall(), self._steady()
        expected = self._believed + now - self._read_at
        self._read_at = now
        self._believed = wall if self._is_believed(wall - expected, now) else expected
        return self._believed

    def _is_believed(self, leap, now):
        if leap - self._leap > TOLERANCE:
            self._leap, self._leaps_since = leap, now
        elif leap <= TOLERANCE or (self._leaps_since is not None and now - self._leaps_since >= GRACE):
            self._leap, self._leaps_since = 0.0, None
            return True
        return False

"""How many lines of a kind the log takes: what strangers can cause must not fill a disk."""

from threading import Lock

WINDOW = 60.0
"""Seconds."""

PER_WINDOW = {"debug": 600}
LINES_PER_WINDOW = 60
MAX_KINDS = 1000
"""A kind is a message without its values, so there are as many as the code has; libraries may make up some as they go."""


class LineLimit:
    """Counts the lines of each kind, in windows of a minute.

    :param clock: gives the time in seconds. Events come from any thread.
    """

    def __init__(self, clock):
        self._clock = clock
        self._lock = Lock()
        self._counts = {}
        self._ends_at = clock() + WINDOW

    def admits(self, kind, level):
        """Count a line.

        :param kind: what is hashable and the same for lines that differ only in their values.
        :returns: whether it is to be written.
        """
        with self._lock:
            if kind not in self._counts and len(self._counts) >= MAX_KINDS:
                kind = None
            count = self._counts[kind] = self._counts.get(kind, 0) + 1
        return count <= PER_WINDOW.get(level, LINES_PER_WINDOW)

    def left_out(self, at_once=False):
        """Begin a new window, if it is time.

        :param at_once: also if it is not.
        :returns: pairs of a kind and how many of its lines the window before had too many.
        """
        # A clock that was set back must not make the window longer.
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

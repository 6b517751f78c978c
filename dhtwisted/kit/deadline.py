"""A time limit for each of many waits, one after the other, at the price of an assignment."""


class Deadline:
    """Says when a wait has taken too long.

    A timer for each statement would be made and cancelled thousands of times a second, for nothing. This one is made for the first, and
    when it fires it looks how far the present wait has come.

    :param reactor: an ``IReactorTime``.
    :param expired: called with the seconds that were too few.
    """

    def __init__(self, reactor, expired):
        self._reactor = reactor
        self._expired = expired
        self._call = None
        self._due = None
        self._seconds = 0

    def start(self, seconds):
        """Begin a wait, in place of any other."""
        self._seconds = seconds
        self._due = self._reactor.seconds() + seconds
        if self._call is None:
            self._call = self._reactor.callLater(seconds, self._look)
        elif self._due < self._call.getTime():
            self._call.reset(seconds)

    def stop(self):
        """End the wait.

        :returns: the seconds that were left; 0 or less when there was none.
        """
        due, self._due = self._due, None
        return 0 if due is None else due - self._reactor.seconds()

    def cancel(self):
        """End the wait, and leave no timer."""
        self._due = None
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _look(self):
        self._call = None
        if self._due is None:
            return
        left = self._due - self._reactor.seconds()
        if left > 0:
            self._call = self._reactor.callLater(left, self._look)
        else:
            self._due = None
            self._expired(self._seconds)

"""Asks the parts of a server, every few seconds, whether they still do what they promise, and logs what has changed.

One timer for all: files that are deleted under a running server, or changed, are noticed by nothing else before it is too late.
"""

from twisted.internet.task import LoopingCall
from twisted.logger import Logger

INTERVAL = 10
"""Seconds between two looks. Each costs some microseconds."""


class SelfChecks:
    """What is asked.

    :param clock: an ``IReactorTime``.
    """

    log = Logger()

    def __init__(self, clock):
        self._asked = {}
        self._problems = {}
        self._timer = LoopingCall(self.look)
        self._timer.clock = clock

    def add(self, part, ask):
        """Ask a part from now on.

        :param part: its name, for the log.
        :param ask: see :meth:`dhtwisted.interfaces.ISelfCheck.problem`; ``None`` is taken for an empty text.
        """
        self._asked[part] = ask

    def start(self):
        """Begin."""
        self._timer.start(INTERVAL, now=False)

    def stop(self):
        """Look no longer."""
        if self._timer.running:
            self._timer.stop()

    def look(self):
        """Ask all. A problem is logged when it comes, changes or goes, not while it stays."""
        for part, ask in self._asked.items():
            try:
                problem = ask() or ""
            except Exception:
                # A stranger's provider may raise anything; the others must be asked all the same.
                self.log.failure("{part} cannot say how it is", part=part)
                continue
            if problem == self._problems.get(part, ""):
                continue
            self._problems[part] = problem
            if problem:
                self.log.error("{part}: {problem}", part=part, problem=problem)
            else:
                self.log.info("{part}: is well again", part=part)

"""Asks the parts of a server every few seconds whether they still work, and logs what has changed.

Nothing else notices in time that a file was deleted or changed under a running server. One timer serves all parts.
"""

from collections.abc import Callable

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from dhtwisted.kit.repeated_work import RepeatedWork

INTERVAL = 10
"""Seconds between two rounds of checks. Each check takes some microseconds."""

Check = Callable[[], str | None]
"""See :meth:`dhtwisted.interfaces.ISelfCheck.problem`; ``None`` means the same as an empty text."""


class SelfChecks:
    """The checks of one server."""

    log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._checks: dict[str, Check] = {}
        self._problems: dict[str, str] = {}
        self._timer = RepeatedWork(clock, "the self-checks", self.check_all)

    def add(self, part: str, check: Check) -> None:
        """Check a part from now on.

        :param part: its name, for the log.
        """
        self._checks[part] = check

    def start(self) -> None:
        """Start the timer."""
        self._timer.start(INTERVAL)

    def stop(self) -> None:
        """Stop the timer."""
        self._timer.stop()

    def check_all(self) -> None:
        """Check all parts. A problem is logged when it begins, changes or ends, not while it stays the same."""
        for part, check in self._checks.items():
            try:
                problem = check() or ""
            except Exception:
                # A provider of another package may raise anything; the other parts must be checked all the same.
                self.log.failure("The self-check of {part} failed", part=part)
                continue
            if problem == self._problems.get(part, ""):
                continue
            self._problems[part] = problem
            if problem:
                self.log.error("{part}: {problem}", part=part, problem=problem)
            else:
                self.log.info("{part}: works again", part=part)

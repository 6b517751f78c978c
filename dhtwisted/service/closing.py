"""Closes the parts of a server in reverse order of opening, within a time limit."""

from collections.abc import Callable
from contextlib import AsyncExitStack

from twisted.internet.defer import TimeoutError, maybeDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

STOP_BOUND = 15.0
"""Seconds from the request to stop until everything is closed."""

STORAGE_RESERVE = 2.0
"""Seconds of :data:`STOP_BOUND` that are reserved for the storages: accepted messages must reach the disk, however slow the clients are."""

_LEAST_TIME = STORAGE_RESERVE / 4
"""Seconds that each part gets, even when the time limit is reached."""


class ClosingStack:
    """The open parts of a server, each with its way to close.

    :param reactor: measures the time limit.
    """

    log = Logger()

    def __init__(self, reactor: IReactorTime) -> None:
        self._reactor = reactor
        self._stack = AsyncExitStack()
        self._deadline: float | None = None

    def add(self, part: str, close: Callable[[], object], reserve: float = 0.0) -> None:
        """Add a part. It is closed after all parts that are added later.

        :param part: its name, for the log.
        :param close: closes it; may return a Deferred or an awaitable.
        :param reserve: seconds of the time limit that this part must leave for the others.
        """
        self._stack.push_async_callback(self._close, part, close, reserve)

    def start_time_limit(self) -> None:
        """Let :data:`STOP_BOUND` begin now."""
        self._deadline = self._reactor.seconds() + STOP_BOUND

    async def close_all(self) -> None:
        """Close all parts. If one fails or takes too long, the others are closed all the same."""
        if self._deadline is None:
            self.start_time_limit()
        await self._stack.aclose()

    async def _close(self, part: str, close: Callable[[], object], reserve: float) -> None:
        remaining = max((self._deadline or 0.0) - reserve - self._reactor.seconds(), _LEAST_TIME)
        try:
            await maybeDeferred(close).addTimeout(remaining, self._reactor)
        except TimeoutError:
            self.log.warn("Stopping: gave up waiting for {part}", part=part)
        except Exception:
            self.log.failure("Stopping: {part} could not be closed", part=part)

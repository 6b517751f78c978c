"""What one timer does for all WebSocket connections, once a second.

A timer for each connection would cost memory and a heap operation for each message; a walk over all of them would keep a server of ten
thousand idle clients busy. So each concern has a collection of its own, with only its connections.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable


class Upkeep:
    """The connections of one server, by what needs to be checked.

    :param ping_interval: seconds between the pings of one connection, 0 for none.
    :param authenticate_timeout: seconds, 0 for any.
    :ivar congested: connections whose client does not read what is sent; they add and remove themselves.
    :ivar closing: connections that end when their client has read the rest; they add themselves.
    :ivar noisy: connections that sent frames without a message in this second; they add themselves.
    """

    def __init__(self, ping_interval: float, authenticate_timeout: float) -> None:
        self.congested: set[Any] = set()
        self.closing: set[Any] = set()
        self.noisy: set[Any] = set()
        self._authenticate_timeout = authenticate_timeout
        # In the order of their opening, so that only those whose time has come are checked.
        self._unauthenticated: dict[Any, None] = {}
        # Pings are spread evenly over the interval, whenever the connections were opened.
        self._interval = max(1, int(ping_interval)) if ping_interval else 0
        self._turns: defaultdict[int, set[Any]] = defaultdict(set)
        self._last_turn = 0
        self._ticks = 0

    def set_times(self, ping_interval: float, authenticate_timeout: float, connections: Iterable[Any]) -> None:
        """Take on other times, also for open connections. Those that were checked for authentication are not checked again.

        :param connections: all that were added, in the order of their opening.
        """
        if not self._authenticate_timeout and authenticate_timeout:
            self._unauthenticated = dict.fromkeys(connections)
        self._authenticate_timeout = authenticate_timeout
        self._interval = max(1, int(ping_interval)) if ping_interval else 0
        self._turns.clear()
        for connection in connections:
            self._give_turn(connection)

    def add(self, connection: Any) -> None:
        """Look after a connection that has been opened."""
        if self._authenticate_timeout:
            self._unauthenticated[connection] = None
        self._give_turn(connection)

    def _give_turn(self, connection: Any) -> None:
        if self._interval:
            connection.turn = self._last_turn = (self._last_turn + 1) % self._interval
            self._turns[connection.turn].add(connection)

    def discard(self, connection: Any) -> None:
        """Stop looking after a connection."""
        self._unauthenticated.pop(connection, None)
        self.congested.discard(connection)
        self.closing.discard(connection)
        self.noisy.discard(connection)
        turn = self._turns.get(connection.turn, set())
        turn.discard(connection)
        if not turn:
            self._turns.pop(connection.turn, None)

    def tick(self, now: float) -> None:
        """Do what is due; call it once a second.

        :param now: seconds of the reactor.
        """
        for connection in self._due_unauthenticated(now):
            connection.check_authenticated()
        for connection in list(self.congested):
            connection.check_congestion(now)
        for connection in list(self.closing):
            connection.check_closing(now)
        noisy, self.noisy = self.noisy, set()
        for connection in noisy:
            connection.quiet()
        self._ticks += 1
        if self._interval:
            for connection in list(self._turns.get(self._ticks % self._interval, ())):
                connection.ping()

    def _due_unauthenticated(self, now: float) -> list[Any]:
        due = []
        for connection in self._unauthenticated:
            if now - connection.opened <= self._authenticate_timeout:
                break
            due.append(connection)
        for connection in due:
            del self._unauthenticated[connection]
        return due

"""What one timer does for all WebSocket connections, once a second.

A timer for each connection would cost memory and a heap operation for each message; a walk over all of them would keep a server of ten
thousand idle clients busy. So each concern has a collection of its own, of those connections alone that it is about.
"""

from __future__ import annotations

from collections import defaultdict


class Watch:
    """The connections of one server, by what is to be looked at.

    :param ping_interval: seconds between the pings of one connection, 0 for none.
    :param authenticate_timeout: seconds, 0 for any.
    :ivar congested: connections whose client does not take what is sent; they put themselves in and out.
    :ivar closing: connections that end when their client has taken what is left; they put themselves in.
    :ivar noisy: connections that have sent frames without a message in this second; they put themselves in.
    """

    def __init__(self, ping_interval, authenticate_timeout):
        self.congested = set()
        self.closing = set()
        self.noisy = set()
        self._authenticate_timeout = authenticate_timeout
        # In the order of their opening, so that only those are looked at whose time has come.
        self._strangers = {}
        # Pings are spread evenly over the interval, whenever the connections were opened.
        self._interval = max(1, int(ping_interval)) if ping_interval else 0
        self._turns = defaultdict(set)
        self._last_turn = 0
        self._ticks = 0

    def set_times(self, ping_interval, authenticate_timeout, connections):
        """Go by other times, also for those that are open; whoever must have authenticated already by the old time is not asked again.

        :param connections: all that were added, in the order of their opening.
        """
        if not self._authenticate_timeout and authenticate_timeout:
            self._strangers = dict.fromkeys(connections)
        self._authenticate_timeout = authenticate_timeout
        self._interval = max(1, int(ping_interval)) if ping_interval else 0
        self._turns.clear()
        for connection in connections:
            self._give_turn(connection)

    def add(self, connection):
        """Watch a connection that has been opened."""
        if self._authenticate_timeout:
            self._strangers[connection] = None
        self._give_turn(connection)

    def _give_turn(self, connection):
        if self._interval:
            connection.turn = self._last_turn = (self._last_turn + 1) % self._interval
            self._turns[connection.turn].add(connection)

    def discard(self, connection):
        """Watch a connection no longer."""
        self._strangers.pop(connection, None)
        self.congested.discard(connection)
        self.closing.discard(connection)
        self.noisy.discard(connection)
        turn = self._turns.get(connection.turn, set())
        turn.discard(connection)
        if not turn:
            self._turns.pop(connection.turn, None)

    def tick(self, now):
        """Do what is due; call it once a second.

        :param now: seconds of the reactor.
        """
        for connection in self._due_strangers(now):
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

    def _due_strangers(self, now):
        due = []
        for connection in self._strangers:
            if now - connection.opened <= self._authenticate_timeout:
                break
            due.append(connection)
        for connection in due:
            del self._strangers[connection]
        return due

"""Says in the log when a database is away and when it is back: once, however many connections there are."""

from __future__ import annotations

from twisted.logger import Logger


class Outage:
    """What all connections of one user of a database report to.

    :ivar place: the database, in words.
    """

    log = Logger()

    def __init__(self, place: str) -> None:
        self.place = place
        self._away: set[object] = set()

    def begin(self, connection: object, reason: str) -> None:
        """A connection is lost, or could not be made."""
        if not self._away:
            self.log.warn("{place} is away: {reason}; trying again until it is back", place=self.place, reason=reason)
        self._away.add(connection)

    def end(self, connection: object) -> None:
        """A connection is there."""
        if connection in self._away:
            self._away.remove(connection)
            if not self._away:
                self.log.warn("{place} is back", place=self.place)

"""Logs when a database goes away and when it is back: once, however many connections there are."""

from __future__ import annotations

from twisted.logger import Logger


class Outage:
    """Collects the reports of several connections to one database.

    :ivar place: names the database in the log.
    """

    log = Logger()

    def __init__(self, place: str) -> None:
        self.place = place
        self._away: set[object] = set()

    def begin(self, connection: object, reason: str) -> None:
        """Report that a connection was lost, or could not be made."""
        if not self._away:
            self.log.warn("{place} is away: {reason}; trying again until it is back", place=self.place, reason=reason)
        self._away.add(connection)

    def end(self, connection: object) -> None:
        """Report that a connection is up."""
        if connection in self._away:
            self._away.remove(connection)
            if not self._away:
                self.log.warn("{place} is back", place=self.place)

"""Says in the log when a database is away and when it is back: once, however many connections there are."""

from twisted.logger import Logger


class Outage:
    """What all connections of one user of a database report to.

    :ivar place: the database, in words.
    """

    log = Logger()

    def __init__(self, place):
        self.place = place
        self._away = set()

    def begin(self, connection, reason):
        """A connection is lost, or could not be made."""
        if not self._away:
            self.log.warn("{place} is away: {reason}; trying again until it is back", place=self.place, reason=reason)
        self._away.add(connection)

    def end(self, connection):
        """A connection is there."""
        if connection in self._away:
            self._away.remove(connection)
            if not self._away:
                self.log.warn("{place} is back", place=self.place)

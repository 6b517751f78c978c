"""A search for damage in a large data file, while the server works on it."""

from twisted.internet.defer import Deferred

from dhtwisted.errors import StorageDamaged
from dhtwisted.kit.worker import Worker
from dhtwisted.providers.sqlite.inspection import damage_of


class DamageSearch:
    """One search, in a thread of its own. SQLite reads all of the file; meanwhile the write-ahead log cannot be folded into it, and grows.

    :param reactor: takes the answer.
    :param path: of the data file.
    """

    def __init__(self, reactor, path):
        self._reactor = reactor
        self._path = path
        self._is_stopped = False
        self._ended = Deferred()

    def start(self):
        """Begin.

        :returns: a Deferred of ``None``; it fails with :class:`~dhtwisted.errors.StorageDamaged` when there is damage.
        """
        return Worker(self._reactor, "storage damage search").stop(self._search).addBoth(self._end)

    def stop(self):
        """End it.

        :returns: a Deferred; fires when the file is let go of.
        """
        self._is_stopped = True
        return self._ended

    def problem(self):
        """One line while it is under way; else empty."""
        return "" if self._ended.called else f"{self._path}: is looked through for damage, since the server did not stop by itself; wait"

    def _search(self):
        damage = damage_of(self._path, lambda: self._is_stopped)
        if damage is not None:
            raise StorageDamaged(f"the storage file is damaged: {damage}", lasts=True)

    def _end(self, result):
        self._ended.callback(None)
        return result

"""Other servers on the same storage, and whether they and this one go together."""

from twisted.internet.defer import Deferred
from twisted.internet.task import LoopingCall, deferLater
from twisted.logger import Logger

from dhtwisted.errors import StorageUnavailable
from dhtwisted.interfaces import ISharedStorage

INTERVAL = 10
"""Seconds between two looks at the others."""

CONFIRMATION = 1.5
"""Seconds at the start between two looks. Only what both find is said: a server that was just killed may still seem to be there."""

OTHER_KEY = (
    "another server on this storage has another signing key, so each refuses the tokens of the other; "
    "give all the same, in auth.secret_file or DHTWISTED_AUTH_SECRET"
)
NO_BUS = (
    "another server works on this storage, and this one has no bus, so its clients do not hear of what the other stores; "
    "set the same bus.provider on all, such as postgres:DSN, or stop the other"
)
OTHER_HAS_NO_BUS = (
    "another server on this storage has no bus, so its clients do not hear of what this one stores; "
    "set the same bus.provider there, or stop it"
)


def conflicts(own, others):
    """What does not go together.

    :param own: the :class:`~dhtwisted.model.Node` of this server.
    :param others: those of the others.
    :returns: a list of texts, each with what to do.
    """
    found = [OTHER_KEY] if any(own.key and other.key and own.key != other.key for other in others) else []
    if others and not own.has_bus:
        found.append(NO_BUS)
    elif not all(other.has_bus for other in others):
        found.append(OTHER_HAS_NO_BUS)
    return found


class Neighbours:
    """Announces a server to the others, and looks at them from time to time.

    :param reactor: an ``IReactorTime``.
    :param node: the :class:`~dhtwisted.model.Node` of this server.
    :param storages: those of this server; what is no ``ISharedStorage`` has no others.
    :ivar problem: what does not go together, and what to do; empty when all is well.
    :ivar is_good: whether this server may serve. Where there is a problem, the server that was there first goes on.
    """

    log = Logger()

    def __init__(self, reactor, node, storages):
        self.problem, self.is_good = "", True
        self._reactor = reactor
        self._node = node
        # Two objects may be on one store.
        self._shared = {storage.store_id: storage for storage in storages if ISharedStorage.providedBy(storage)}
        self._seen = []
        self._timer = LoopingCall(lambda: Deferred.fromCoroutine(self.look()))
        self._timer.clock = reactor

    @property
    def can_be(self):
        """Whether there can be any others."""
        return bool(self._shared)

    async def start(self):
        """Announce this server, look at the others, and again from time to time."""
        if not self._shared:
            return
        for storage in self._shared.values():
            await storage.announce(self._node)
        await self.look()
        if self._seen:
            await deferLater(self._reactor, CONFIRMATION)
            await self.look()
        self._timer.start(INTERVAL, now=False)

    def stop(self):
        """Look no longer. What was announced ends with the storage."""
        if self._timer.running:
            self._timer.stop()

    async def look(self):
        """Look at the others. What is found twice in a row is a problem."""
        found, is_first = [], True
        try:
            for storage in self._shared.values():
                first, others = await storage.look_around()
                found += conflicts(self._node, others)
                is_first = is_first and first
        except StorageUnavailable:
            return  # It is known elsewhere, and what was known of the others holds.
        except Exception:
            # A stranger's storage may raise anything, and it must not end the looking.
            self.log.failure("The storage cannot say who else works on it")
            return
        problem = "; ".join(dict.fromkeys(text for text in found if text in self._seen))
        self._seen = found
        self.is_good = is_first or not problem
        if problem != self.problem:
            self.problem = problem
            self._tell()

    def _tell(self):
        if self.problem:
            self.log.warn("Other servers: {problem}", problem=self.problem)
        else:
            self.log.info("Other servers: all go together now")

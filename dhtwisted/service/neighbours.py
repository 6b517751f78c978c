"""The other servers on the same storage, and whether this server is compatible with them."""

from collections.abc import Iterable, Sequence
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger

from dhtwisted.errors import StorageUnavailable
from dhtwisted.interfaces import ISharedStorage
from dhtwisted.kit.repeated_work import RepeatedWork
from dhtwisted.model import Node

INTERVAL = 10
"""Seconds between two checks of the others."""

CONFIRMATION = 1.5
"""Seconds between the two checks at the start. Only what both find is reported: a server that was just killed may still be listed."""

OTHER_KEY = (
    "another server on this storage has another signing key, so each refuses the tokens of the other; "
    "set the same key on all servers, in auth.secret_file or DHTWISTED_AUTH_SECRET"
)
NO_BUS = (
    "another server uses this storage, and this server has no bus, so its clients get no events of the other; "
    "set the same bus.provider on all servers, such as postgres:DSN, or stop the other"
)
OTHER_HAS_NO_BUS = (
    "another server on this storage has no bus, so its clients get no events of this server; set the same bus.provider there, or stop it"
)


def conflicts(own: Node, others: Sequence[Node]) -> list[str]:
    """Find out why servers are not compatible.

    :param own: this server.
    :returns: a text for each reason, with what to do.
    """
    found = [OTHER_KEY] if any(own.key and other.key and own.key != other.key for other in others) else []
    if others and not own.has_bus:
        found.append(NO_BUS)
    elif not all(other.has_bus for other in others):
        found.append(OTHER_HAS_NO_BUS)
    return found


class Neighbours:
    """Announces this server to the others, and checks them regularly.

    :param node: this server.
    :param storages: the storages of this server. A storage that does not provide ``ISharedStorage`` has no other servers.
    :ivar problem: why the servers are not compatible, and what to do; empty if they are.
    :ivar may_serve: whether this server may serve clients. If there is a problem, only the server that was there first may.
    """

    log = Logger()

    def __init__(self, reactor: IReactorTime, node: Node, storages: Iterable[Any]) -> None:
        self.problem, self.may_serve = "", True
        self._reactor = reactor
        self._node = node
        # Two storage objects may use one store.
        self._shared = {storage.store_id: storage for storage in storages if ISharedStorage.providedBy(storage)}
        self._last_conflicts: list[str] = []
        self._timer = RepeatedWork(reactor, "checking the other servers", self.check)

    @property
    def are_possible(self) -> bool:
        """Whether other servers can be on the storages."""
        return bool(self._shared)

    async def start(self) -> None:
        """Announce this server, check the others, and start the timer."""
        if not self._shared:
            return
        for storage in self._shared.values():
            await storage.announce(self._node)
        await self.check()
        if self._last_conflicts:
            await deferLater(self._reactor, CONFIRMATION)
            await self.check()
        self._timer.start(INTERVAL)

    def stop(self) -> None:
        """Stop the timer. The announcement ends when the storage is closed."""
        self._timer.stop()

    async def check(self) -> None:
        """Check the others. What two checks in a row find is a problem."""
        found: list[str] = []
        is_first = True
        try:
            for storage in self._shared.values():
                first, others = await storage.look_around()
                found += conflicts(self._node, others)
                is_first = is_first and first
        except StorageUnavailable:
            # The storage reports this itself, and the last known state of the others is kept.
            return
        except Exception:
            # A storage of another package may raise anything, and that must not end the checks.
            self.log.failure("The storage could not list the other servers")
            return
        problem = "; ".join(dict.fromkeys(text for text in found if text in self._last_conflicts))
        self._last_conflicts = found
        self.may_serve = is_first or not problem
        if problem != self.problem:
            self.problem = problem
            self._log_problem()

    def _log_problem(self) -> None:
        if self.problem:
            self.log.warn("Other servers: {problem}", problem=self.problem)
        else:
            self.log.info("Other servers: all are compatible now")

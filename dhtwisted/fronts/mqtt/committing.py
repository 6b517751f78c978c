"""What the broker stores: the exchanges with QoS 1 and 2 of sessions that are kept, and these sessions."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger
from twisted.python.failure import Failure

from dhtwisted.core.coroutines import run
from dhtwisted.errors import StorageError, StorageUnavailable
from dhtwisted.fronts.mqtt.changes import Changes
from dhtwisted.fronts.mqtt.delivery import Delivery
from dhtwisted.fronts.mqtt.session import ClientSession

if TYPE_CHECKING:
    from dhtwisted.fronts.mqtt.interfaces import IMqttStore


class Committer:
    """The storing part of the broker.

    :ivar store: keeps sessions and messages; see :class:`~dhtwisted.fronts.mqtt.interfaces.IMqttStore`.
    """

    log = Logger()

    store: IMqttStore

    _failures = 0
    """How often the storage did not answer, since it last stored something."""

    # Storage

    def commit(self, changes: Changes) -> Any:
        """Store changes: all or none.

        :returns: :data:`~dhtwisted.kit.waiter.DONE` if nothing waits, else an awaitable.
        """
        return self.store.commit(changes)

    def commit_then(self, changes: Changes, then: Callable[[], object] | None = None, failed: Callable[[], object] | None = None) -> None:
        """Store changes, then call ``then``; or ``failed`` if that is impossible."""
        if changes:
            run(self._commit(changes), partial(self._committed, then, failed))
        elif then is not None:
            then()

    async def _commit(self, changes: Changes) -> None:
        await self.store.commit(changes)

    def _committed(self, then: Callable[[], object] | None, failed: Callable[[], object] | None, _: None, error: Any) -> None:
        if error is not None:
            self.store_failed(error)
            then = failed
        elif self._failures:
            self._storage_is_back()
        if then is not None:
            try:
                then()
            except Exception:
                self.log.failure("what follows a change in the storage failed")

    def store_failed(self, error: BaseException) -> None:
        """Log that something could not be stored, or read; once while the storage is away."""
        if isinstance(error, StorageError):
            is_away = isinstance(error, StorageUnavailable)
            self._failures += is_away
            if not is_away or self._failures == 1:
                self.log.warn("what MQTT has to keep could not be stored: {error}", error=str(error))
        else:
            self.log.failure("what MQTT has to keep could not be stored", failure=Failure(error))

    def _storage_is_back(self) -> None:
        failures, self._failures = self._failures, 0
        self.log.warn("what MQTT has to keep can be stored again; meanwhile that failed {count} times", count=failures)

    def save(self, session: ClientSession) -> Any:
        """Store a session, if it is kept; as :meth:`commit`."""
        changes = Changes()
        if (session.is_kept or session.is_stored) and not session.is_over:
            session.is_stored = True
            self.store.note_session(changes, session)
        return self.commit(changes)

    def save_soon(self, session: ClientSession) -> None:
        """As :meth:`save`, but nobody waits."""
        run(self._save(session), partial(self._committed, None, None))

    async def _save(self, session: ClientSession) -> None:
        await self.save(session)

    # Exchanges under way

    def complete(self, session: ClientSession, delivery: Delivery) -> None:
        """A message was acknowledged, or never will be: nothing of it is kept."""
        if delivery.number:
            changes = Changes()
            self.store.note_acknowledged(changes, session, delivery)
            self.commit_then(changes)
        if delivery.token is not None and session.device is not None:
            session.device.acknowledged((delivery.token,))

    def store_released(self, session: ClientSession, delivery: Delivery, then: Callable[[Delivery], None]) -> None:
        """Store that a PUBREC has come, then call ``then``. An event of ``dh/`` is acknowledged in the same commit: it does not come again
        after a crash.
        """
        changes = Changes()
        if delivery.token is not None and session.device is not None:
            session.device.acknowledged((delivery.token,))
            self.store.note_session(changes, session)
        self.store.note_queued(changes, session, delivery)
        self.commit_then(changes, partial(then, delivery), partial(self._end, session))

    def forget_received(self, session: ClientSession, packet_id: int, then: Callable[[], None]) -> None:
        """Store that a packet id of the client is free, then call ``then``."""
        changes = Changes()
        self.store.note_released(changes, session, packet_id)
        self.commit_then(changes, then, partial(self._end, session))

    def store_event(self, session: ClientSession, delivery: Delivery, record: tuple[str, str, int]) -> None:
        """Store that an event of ``dh/`` has a packet id, then send it."""
        changes = Changes()
        self.store.note_queued(changes, session, delivery, record)
        # Without its record it is sent nevertheless: it is stored as a message, and only a crash could repeat it.
        release = partial(session.outgoing.release, delivery)
        self.commit_then(changes, release, release)

    def _end(self, session: ClientSession) -> None:
        """End a connection that cannot go on without the storage; the client comes again and repeats what was not answered."""
        if session.connection is not None:
            session.connection.storage_failed()

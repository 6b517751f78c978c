"""A storage in memory that answers changes as a storage on a disk does: in commits, which a test finishes."""

from collections.abc import Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure

from dhtwisted.errors import StorageUnavailable, Unstorable
from dhtwisted.kit.batching import Batcher
from dhtwisted.model import Command, Entity, Message
from dhtwisted.providers.memory import MemoryStorage

UNSTORABLE = b"unstorable"
"""A message whose parameters contain this cannot be stored, and nothing of its ``append`` is stored."""


class CommittingStorage(MemoryStorage):
    """Collects changes with the ``Batcher`` of the real storages. Reads are answered at once.

    :ivar is_prompt: whether each commit ends at once.
    :ivar fails: whether the commits that are finished now fail.
    """

    def __init__(self, reactor: IReactorTime) -> None:
        super().__init__(reactor)
        self.is_prompt = True
        self.fails = False
        self._running: tuple[Deferred[list[Any]], list[Callable[[], Any]]] | None = None
        self._batcher: Batcher[Callable[[], Any]] = Batcher(self._begin)

    def _begin(self, operations: list[Callable[[], Any]]) -> Deferred[list[Any]]:
        done: Deferred[list[Any]] = Deferred()
        self._running = done, list(operations)
        if self.is_prompt:
            self.commit()
        return done

    def commit(self) -> bool:
        """Finish the commit that is under way; the next one begins with all that waits.

        :returns: whether there was one.
        """
        if self._running is None:
            return False
        (done, operations), self._running = self._running, None
        if self.fails:
            done.errback(StorageUnavailable("a test wants it so"))
        else:
            done.callback([_outcome(operation) for operation in operations])
        return True

    def append(self, messages: Sequence[Message]) -> Any:
        def work() -> None:
            if any(UNSTORABLE in (message.parameters or b"") for message in messages):
                raise Unstorable("a test wants it so")
            super(CommittingStorage, self).append(messages)

        return self._batcher.submit(work, len(messages))

    def update_command(self, device_id: str, command_id: int, changes: dict[str, Any]) -> Any:
        def work() -> Command | None:
            return self._log(Command).update_command(device_id, command_id, self._now(), changes)

        return self._batcher.submit(work)

    def insert(self, entity: Entity) -> Any:
        return self._batcher.submit(lambda: self._change("insert", entity))

    def update(self, kind: type[Entity], key: Any, changes: dict[str, Any]) -> Any:
        return self._batcher.submit(lambda: self._change("update", kind, key, changes))

    def delete(self, kind: type[Entity], key: Any) -> Any:
        return self._batcher.submit(lambda: self._change("delete", kind, key))


def _outcome(operation: Callable[[], Any]) -> Any:
    try:
        return operation()
    except Exception as error:
        return Failure(error)

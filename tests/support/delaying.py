"""A storage that answers when a test lets it."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from dhtwisted.errors import StorageUnavailable
from dhtwisted.interfaces import IStorage
from dhtwisted.model import Command, Entity, EntityQuery, Holding, Message, MessageQuery


@implementer(IStorage)
class DelayingStorage:
    """Passes every call on to another storage, and can delay the answers.

    A delayed call does its work at once and answers later, like a commit whose confirmation is on its way. A *late* call also does its
    work only then. Calls to the same method are answered in the order of the calls: a storage commits in one order.

    :ivar waiting: method names of the delayed answers, in the order of the calls.
    """

    def __init__(self, storage: Any) -> None:
        self._storage = storage
        self._modes: dict[str, str] = {}
        self._calls: list[tuple[str, Deferred[None], bool]] = []
        self.durability = storage.durability
        self.state_directory = storage.state_directory

    @property
    def waiting(self) -> list[str]:
        return [name for name, _, _ in self._calls]

    def delay(self, *names: str, late: bool = False) -> None:
        """Delay the answers of these methods from now on."""
        self._modes |= dict.fromkeys(names, "late" if late else "delayed")

    def prompt(self, *names: str) -> None:
        """Answer calls to these methods at once again, unless older calls wait. Without names: all methods."""
        for name in names or list(self._modes):
            self._modes.pop(name, None)

    def fail(self, *names: str) -> None:
        """Fail these methods from now on. The error of a delayed method is delayed too."""
        for name in names:
            self._modes[name] = "failing late" if name in self._modes else "failing"

    def release(self, name: str | None = None, count: int = 1) -> int:
        """Give delayed answers, the oldest first.

        :param name: only those of this method.
        :param count: how many at most.
        :returns: how many were given.
        """
        given = 0
        for call in [call for call in self._calls if name in (None, call[0])][:count]:
            self._calls.remove(call)
            if call[2]:
                call[1].errback(StorageUnavailable("a test wants it so"))
            else:
                call[1].callback(None)
            given += 1
        return given

    def release_all(self) -> None:
        """Give all delayed answers, also those to calls that are made meanwhile."""
        while self.release():
            pass

    async def _call(self, name: str, *arguments: Any) -> Any:
        mode = self._modes.get(name) or ("delayed" if name in self.waiting else "")
        if mode == "failing":
            raise StorageUnavailable("a test wants it so")
        method = getattr(self._storage, name)
        if not mode:
            return await method(*arguments)
        outcome = await _outcome(method, arguments) if mode == "delayed" else None
        released: Deferred[None] = Deferred()
        self._calls.append((name, released, mode == "failing late"))
        await released
        if outcome is None:
            return await method(*arguments)
        result, error = outcome
        if error is not None:
            raise error
        return result

    async def open(self) -> None:
        await self._storage.open()

    async def close(self) -> None:
        await self._storage.close()

    async def get(self, kind: type[Entity], key: Any) -> Any:
        return await self._call("get", kind, key)

    async def find(self, kind: type[Entity], query: EntityQuery) -> list[Any]:
        return await self._call("find", kind, query)

    async def count(self, kind: type[Entity], query: EntityQuery) -> int:
        return await self._call("count", kind, query)

    async def holdings(self, owner: int) -> dict[type[Entity], Holding]:
        return await self._call("holdings", owner)

    async def insert(self, entity: Entity) -> Any:
        return await self._call("insert", entity)

    async def update(self, kind: type[Entity], key: Any, changes: dict[str, Any]) -> Any:
        return await self._call("update", kind, key, changes)

    async def delete(self, kind: type[Entity], key: Any) -> bool:
        return await self._call("delete", kind, key)

    async def append(self, messages: Sequence[Message]) -> Any:
        return await self._call("append", messages)

    async def update_command(self, device_id: str, command_id: int, changes: dict[str, Any]) -> Command | None:
        return await self._call("update_command", device_id, command_id, changes)

    async def get_message(self, kind: type[Message], device_id: str, message_id: int) -> Any:
        return await self._call("get_message", kind, device_id, message_id)

    async def find_messages(self, kind: type[Message], query: MessageQuery) -> list[Any]:
        return await self._call("find_messages", kind, query)

    async def forget_messages(self, kind: type[Message], query: MessageQuery) -> int:
        return await self._call("forget_messages", kind, query)

    async def restore(self, messages: Sequence[Message]) -> None:
        return await self._call("restore", messages)


async def _outcome(method: Callable[..., Awaitable[Any]], arguments: tuple[Any, ...]) -> tuple[Any, Exception | None]:
    try:
        return await method(*arguments), None
    except Exception as error:
        return None, error

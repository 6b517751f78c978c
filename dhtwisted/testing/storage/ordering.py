"""The part of the contract of a message storage about order: the order in which appends complete, and barriers."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any

import pytest_twisted

from dhtwisted.model import Command, Message, Notification
from dhtwisted.testing.contract import Watched
from dhtwisted.testing.storage.base import EVERYTHING, SettableReactor, StorageContract, begin, command, notification, now, results

MANY = 400
"""Concurrent calls: more than fit into one commit."""


class MessageOrdering(StorageContract):
    """What :class:`~dhtwisted.testing.storage.MessageStorageContract` says of order."""

    @pytest_twisted.ensureDeferred
    async def test_appends_complete_in_the_order_of_their_ids(self, storage: Watched) -> None:
        completed = []

        async def append(message: Notification) -> None:
            await storage.append([message])
            completed.append(message.id)

        await results(*(append(notification(str(n))) for n in range(MANY)))
        late = [(one, next_one) for one, next_one in zip(completed, completed[1:], strict=False) if one > next_one]
        assert not late, f"appends must complete in the order of their ids: that of {late[0][0]} completed before that of {late[0][1]}"

    @pytest_twisted.ensureDeferred
    async def test_no_older_message_appears_after_a_barrier(self, storage: Watched, clock: SettableReactor) -> None:
        appends = [begin(storage.append([notification(str(n))])) for n in range(MANY)]
        late = await self._late(storage, clock, Notification, appends)
        assert not late, (
            f"append(()) is a barrier: {len(late)} messages that were stamped before its call became visible after it completed. "
            "It must wait for each append whose messages have a time already"
        )

    @pytest_twisted.ensureDeferred
    async def test_no_older_update_appears_after_a_barrier(self, storage: Watched, clock: SettableReactor) -> None:
        sent = [command(str(n)) for n in range(MANY)]
        await storage.append(sent)
        clock.time += 1
        updates = [begin(storage.update_command("a", each.id, {"status": "done"})) for each in sent]
        late = await self._late(storage, clock, Command, updates)
        assert not late, (
            f"append(()) is a barrier for updates of commands too: {len(late)} that were stamped before its call became visible after it "
            "completed. It must wait for each update_command that has a time already"
        )

    async def _late(
        self, storage: Watched, clock: SettableReactor, kind: type[Message], waiting: Sequence[Awaitable[Any]]
    ) -> list[tuple[int, int]]:
        """Append a barrier.

        :returns: the stamps that became visible too late: the barrier did not wait for them.
        """
        clock.time += 1
        asked_at = now(clock)
        assert await storage.append(()) is None, "an append of nothing must return None"
        visible = await _stamps(storage, kind)
        await results(*waiting)
        return [stamp for stamp in await _stamps(storage, kind) - visible if stamp[1] < asked_at]


async def _stamps(storage: Watched, kind: type[Message]) -> set[tuple[int, int]]:
    """The id of each message, and its time or that of its last update."""
    field = "last_updated" if kind is Command else "timestamp"
    return {(message.id, getattr(message, field)) for message in await storage.find_messages(kind, EVERYTHING)}

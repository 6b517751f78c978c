"""The part of the contract of a durable storage about kill -9: acknowledged data are there afterwards."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import pytest_twisted

from dhtwisted.interfaces import IEntityStorage
from dhtwisted.model import Command, EntityQuery, MqttQueued, Network, Notification
from dhtwisted.testing.contract import Watched
from dhtwisted.testing.killed_process import run_until_killed
from dhtwisted.testing.storage.base import EVERYTHING, SettableReactor, StorageContract, need_entities, notification
from dhtwisted.testing.storage.last_calls import LAST_CALLS, OF_ENTITIES

ENOUGH = 300
"""Acknowledgements after which the writing process is killed; it goes on writing until then."""


class KilledStorage(StorageContract):
    """What :class:`~dhtwisted.testing.storage.DurableStorageContract` says of kill -9. A process of its own runs ``make_storage``."""

    @pytest.mark.parametrize("method", LAST_CALLS)
    @pytest_twisted.ensureDeferred
    async def test_what_is_acknowledged_is_written(self, clock: SettableReactor, directory: Path, method: str) -> None:
        if method in OF_ENTITIES:
            need_entities(self.make_storage(clock, directory))
        acknowledged, last_words = await run_until_killed(self, directory, method)
        assert acknowledged == [method], f"{method} did not complete in a process of its own: {last_words}"
        async with self.opened(clock, directory, has_data=True) as storage:
            assert await LAST_CALLS[method].is_done(storage), (
                f"{method} was acknowledged before it was written: its process was killed in the moment in which its awaitable completed, "
                "and after a restart nothing is seen of it. Complete when the change is in the file or committed, not before"
            )

    @pytest_twisted.ensureDeferred
    async def test_kill_9_loses_nothing_acknowledged(self, clock: SettableReactor, directory: Path) -> None:
        acknowledged, last_words = await run_until_killed(self, directory, enough=ENOUGH)
        assert len(acknowledged) >= ENOUGH, f"the writing process ended before {ENOUGH} acknowledgements: {last_words}"
        async with self.opened(clock, directory, has_data=True) as storage:
            found = {kind: await storage.find_messages(kind, EVERYTHING) for kind in (Command, Notification)}
            networks = await _network_names(storage)
            queued = await _queued_numbers(storage)
            later = notification()
            await storage.append([later])
        stored = {f"message {m.name} {m.id}" for m in found[Notification]} | {f"network {name}" for name in networks}
        bulk = [line for line in acknowledged if line.startswith("queued ")]
        assert set(acknowledged) - set(bulk) <= stored, "all acknowledged data must be there after kill -9"
        for writer, number in _last_numbers(bulk).items():
            assert queued[writer][-1] in (number, number + 1), "after kill -9 what change_many acknowledged must be done"
        in_bulk = {m.name for m in found[Notification] if m.name.startswith("bulk-")}
        if in_bulk:
            expected = {f"bulk-{writer}-{n}" for writer, (number,) in queued.items() for n in range(1, number + 1)}
            assert in_bulk == expected, "after kill -9 everything of one change_many must be there, or nothing"
        found[Notification] = [m for m in found[Notification] if m.name not in in_bulk]
        names = {kind: Counter(m.name for m in found[kind]) for kind in found}
        assert names[Command] == names[Notification], "after kill -9, the messages of one append must be there completely or not at all"
        assert later.id > max(m.id for m in found[Notification]), "ids must continue after kill -9"


def _last_numbers(lines: list[str]) -> dict[str, int]:
    """The writers that write in bulk, and the last number of each that was acknowledged."""
    return {writer: int(number) for _, writer, number in map(str.split, lines)}


async def _queued_numbers(storage: Watched) -> dict[str, list[int]]:
    """The writers that write in bulk, and the numbers that are queued for each."""
    found: dict[str, list[int]] = {}
    for each in await storage.find(MqttQueued, EntityQuery()) if IEntityStorage.providedBy(storage) else ():
        found.setdefault(each.session.partition(" ")[2], []).append(each.number)
    return found


async def _network_names(storage: Watched) -> list[str]:
    return [n.name for n in await storage.find(Network, EntityQuery())] if IEntityStorage.providedBy(storage) else []

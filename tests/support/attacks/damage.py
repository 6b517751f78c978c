"""The data of a killed server, ways to damage copies of it, and what a start does with each copy.

``python -m tests.support.attacks.damage`` tries all of them and writes a table. It takes a minute or two.
"""

import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from dhtwisted.errors import ConfigurationError, StorageUnavailable
from dhtwisted.model import Command, Device, Entity, EntityQuery, MessageQuery, Network, Notification, User
from dhtwisted.providers.sqlite.database import FileLock
from dhtwisted.providers.sqlite.storage import FileStorage
from tests.support.packages import ROOT

Content = dict[str, dict[str, str]]
"""Name of a kind -> key -> text."""

Change = Callable[[bytes], bytes]
NAME = "hive.sqlite"
SUFFIXES = ("", "-wal", ".mark")
ENTITIES: tuple[type[Entity], ...] = (User, Network, Device)
PAGE = 4096

ACCEPTED = "lost, and reported"
FINE, REFUSED, REPORTED = "nothing is lost", "refused in one line", "reported by a call"
LOST, GIVEN_AGAIN, ALTERED, DEFECT = "lost without a report", "an id was given again", "served altered", "not an error of dhtwisted"
BAD = {LOST, GIVEN_AGAIN, ALTERED, DEFECT}


def _messages(first: int, count: int) -> Iterator[Command | Notification]:
    for n in range(first, first + count):
        where: dict[str, Any] = {"device_id": f"device-{n % 20}", "network_id": 1, "device_type_id": 1}
        parameters = json.dumps({"number": n, "text": "abcdefghij" * 20}).encode()
        yield (
            Command(name=f"do-{n}", user_id=1, parameters=parameters, **where)
            if n % 4 == 0
            else Notification(name=f"event-{n}", parameters=parameters, **where)
        )


async def fill(storage: FileStorage, part: str, messages: int) -> None:
    """Store objects of all kinds, in many commits."""
    for n in range(10):
        await storage.insert(User(login=f"user-{part}-{n}", password="$hash$", role=1, status=0))
        await storage.insert(Network(name=f"network-{part}-{n}"))
        await storage.insert(Device(id=f"{part}-{n}", name="x" * 100, network_id=1, device_type_id=1))
    for first in range(0, messages, 12):
        some = list(_messages(first, 12))
        await storage.append(some)
        await storage.update_command(some[0].device_id, some[0].id, {"status": "done", "result": b'{"good": true}'})


async def content(storage: FileStorage) -> Content:
    """Everything that is stored. Messages are read in two ways, which must agree."""
    found: Content = {}
    for entity_kind in ENTITIES:
        found[entity_kind.KIND] = {str(entity.key): repr(entity) for entity in await storage.find(entity_kind, EntityQuery())}
    for kind in (Command, Notification):
        found[kind.KIND] = {str(message.id): repr(message) for message in await storage.find_messages(kind, MessageQuery())}
        by_device: dict[str, str] = {}
        for n in range(20):
            query = MessageQuery(device_ids=(f"device-{n}",))
            by_device |= {str(message.id): repr(message) for message in await storage.find_messages(kind, query)}
        found[f"{kind.KIND} by device"] = by_device
    return found


async def _serve(reactor: Any, path: str) -> None:
    """Run the server that will be killed."""
    # The second part stays in the write-ahead log: it is too small for a checkpoint, which writes it into the data file.
    for part, messages in (("first", 600), ("second", 120)):
        storage = FileStorage(path, reactor)
        await storage.open()
        await fill(storage, part, messages)
        if part == "first":
            await storage.close()
    print(json.dumps(await content(storage)), flush=True)
    await Deferred()


def killed_server(directory: Path) -> Content:
    """Run a server that stores objects, and kill it.

    :returns: what it has acknowledged.
    """
    path = directory / NAME
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.attacks.damage", path], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        acknowledged: Content = json.loads(server.stdout.readline())
        server.send_signal(signal.SIGKILL)
    FileLock(str(path)).release()  # Waits until the process that writes for it has ended too.
    return acknowledged


def _cut(share: float) -> Change:
    return lambda data: data[: int(len(data) * share)]


def _zeroed(share: float, length: int = PAGE) -> Change:
    def change(data: bytes) -> bytes:
        start = int(len(data) * share) // length * length
        return data[:start] + bytes(min(length, len(data) - start)) + data[start + length :]

    return change


def _flipped(share: float, bit: int = 3) -> Change:
    def change(data: bytes) -> bytes:
        changed = bytearray(data)
        changed[min(int(len(data) * share), len(data) - 1)] ^= 1 << bit
        return bytes(changed)

    return change


def damages(seed: int = 17, times: int = 16) -> list[tuple[str, str, Change | None]]:
    """Ways to damage the files.

    :returns: for each way its name, the suffix of the file, and a function from its bytes to the damaged bytes; ``None`` removes the file.
    """
    chance = random.Random(seed)
    ways: dict[str, Callable[[float], Change]] = {"cut": _cut, "zeroed": _zeroed, "flipped": _flipped}
    found: list[tuple[str, str, Change | None]] = [
        ("removed", "-wal", None),
        ("emptied", "-wal", _cut(0)),
        ("head zeroed", "-wal", _zeroed(0, 32)),
        ("tail cut", "-wal", _cut(0.9999)),
    ]
    found += [("head zeroed", "", _zeroed(0, 100))]
    for suffix in ("-wal", ""):
        for way, make in ways.items():
            for _ in range(times if suffix or way == "cut" else 3 * times):
                share = chance.random()
                found.append((f"{way} at {share:.4f}", suffix, make(share)))
    found += [("removed", ".mark", None), ("emptied", ".mark", _cut(0)), ("zeroed", ".mark", lambda data: bytes(len(data)))]
    return found


def damage(source: Path, target: Path, suffix: str, change: Change | None) -> Path:
    """Make a damaged copy.

    :param source: the directory of a killed server.
    :param target: the directory to make.
    :returns: the path of the data file.
    """
    target.mkdir()
    for each in SUFFIXES:
        if (source / f"{NAME}{each}").exists():
            shutil.copy(source / f"{NAME}{each}", target)
    file = target / f"{NAME}{suffix}"
    if change is None:
        file.unlink(missing_ok=True)
    elif file.exists():
        file.write_bytes(change(file.read_bytes()))
    return target / NAME


async def outcome(reactor: Any, path: Path, acknowledged: Content, accepts_loss: bool = False) -> tuple[str, str]:
    """Start on damaged data, read everything, and write.

    :returns: the result, one of the texts above, and the text of the error or the first loss.
    """
    storage = FileStorage(str(path), reactor)
    if accepts_loss:
        storage.accept_loss()
    try:
        await storage.open()
    except ConfigurationError as error:
        return (REFUSED if "\n" not in str(error) else DEFECT), str(error)
    except Exception as error:
        return DEFECT, repr(error)
    try:
        result, said = await _read_and_write(storage, acknowledged)
        # A lost update leaves the command as it was before.
        is_lost = result == LOST or (result == ALTERED and said.startswith("command "))
        return (ACCEPTED, "; ".join(storage.losses)) if accepts_loss and is_lost and storage.losses else (result, said)
    finally:
        await storage.close()


async def _read_and_write(storage: FileStorage, acknowledged: Content) -> tuple[str, str]:
    try:
        found = await content(storage)
        user = await storage.insert(User(login="another", password="$hash$", role=1, status=0))
        message = Notification(name="another", device_id="device-1", network_id=1, device_type_id=1)
        await storage.append([message])
    except StorageUnavailable as error:
        return REPORTED, str(error)
    except Exception as error:
        return DEFECT, repr(error)
    if str(user.id) in acknowledged["user"] or str(message.id) in acknowledged["notification"]:
        return GIVEN_AGAIN, ""
    if storage.problem():
        return REPORTED, storage.problem()
    lost = [f"{kind} {key}" for kind, before in acknowledged.items() for key in before if key not in found[kind]]
    altered = [
        f"{kind} {key}" for kind, before in acknowledged.items() for key in before if found[kind].get(key, before[key]) != before[key]
    ]
    return (ALTERED, altered[0]) if altered else (LOST, lost[0]) if lost else (FINE, "")


async def _all(reactor: Any) -> None:
    with tempfile.TemporaryDirectory() as name:
        source = Path(name, "killed")
        source.mkdir()
        acknowledged = killed_server(source)
        table: Counter[tuple[str, str, str]] = Counter()
        for number, (way, suffix, change) in enumerate(damages()):
            path = damage(source, Path(name, str(number)), suffix, change)
            result, said = await outcome(reactor, path, acknowledged)
            where = suffix or "main", way.split(" at ")[0]
            table[*where, result] += 1
            sys.stdout.write(f"{suffix or 'main'} {way}: {result}: {said[:300]}\n")
            if result in (REFUSED, REPORTED):
                result, said = await outcome(reactor, path, acknowledged, accepts_loss=True)
                table[*where, f"  then accepted: {result}"] += 1
                sys.stdout.write(f"    accepted: {result}: {said[:600]}\n")
        for (suffix, way, result), count in sorted(table.items()):
            sys.stdout.write(f"{suffix:6} {way:12} {result:40} {count}\n")
        bad = sum(count for (_, _, result), count in table.items() if result.removeprefix("  then accepted: ") in BAD)
        sys.stdout.write(f"{len(damages())} ways, {table.total()} starts with those that accept the loss: {bad} are wrong\n")


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(_serve(reactor, sys.argv[1]) if sys.argv[1:] else _all(reactor)))

"""Data of a server that was killed, ways to damage a copy of them, and what a start makes of each.

``python -m tests.support.attacks.damage`` does all of it and writes a table, in a minute or two.
"""

import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from dhtwisted.errors import ConfigurationError, StorageUnavailable
from dhtwisted.model import Command, Device, EntityQuery, MessageQuery, Network, Notification, User
from dhtwisted.providers.sqlite.database import FileLock
from dhtwisted.providers.sqlite.storage import FileStorage
from tests.support.packages import ROOT

NAME = "hive.sqlite"
SUFFIXES = ("", "-wal", ".mark")
KINDS = (User, Network, Device, Command, Notification)
PAGE = 4096

ACCEPTED = "lost, and said"
FINE, REFUSED, TOLD = "nothing is lost", "refused in one line", "told when it is read"
LOST, GIVEN_AGAIN, ALTERED, DEFECT = "lost without a word", "an id was given again", "served altered", "not an error of ours"
BAD = {LOST, GIVEN_AGAIN, ALTERED, DEFECT}


def _messages(first, count):
    for n in range(first, first + count):
        where = {"device_id": f"device-{n % 20}", "network_id": 1, "device_type_id": 1}
        parameters = json.dumps({"number": n, "text": "abcdefghij" * 20}).encode()
        yield (
            Command(name=f"do-{n}", user_id=1, parameters=parameters, **where)
            if n % 4 == 0
            else Notification(name=f"told-{n}", parameters=parameters, **where)
        )


async def fill(storage, part, messages):
    """Have things of all kinds acknowledged, in many commits."""
    for n in range(10):
        await storage.insert(User(login=f"user-{part}-{n}", password="$hash$", role=1, status=0))
        await storage.insert(Network(name=f"network-{part}-{n}"))
        await storage.insert(Device(id=f"{part}-{n}", name="x" * 100, network_id=1, device_type_id=1))
    for first in range(0, messages, 12):
        some = list(_messages(first, 12))
        await storage.append(some)
        await storage.update_command(some[0].device_id, some[0].id, {"status": "done", "result": b'{"good": true}'})


async def content(storage):
    """Everything that is stored: kind -> {key: text}. By two ways each, which must agree."""
    found = {}
    for kind in KINDS[:3]:
        found[kind.KIND] = {str(entity.key): repr(entity) for entity in await storage.find(kind, EntityQuery())}
    for kind in KINDS[3:]:
        found[kind.KIND] = {str(message.id): repr(message) for message in await storage.find_messages(kind, MessageQuery())}
        by_device = {}
        for n in range(20):
            query = MessageQuery(device_ids=(f"device-{n}",))
            by_device |= {str(message.id): repr(message) for message in await storage.find_messages(kind, query)}
        found[f"{kind.KIND} by device"] = by_device
    return found


async def _serve(reactor, path):
    """What is killed."""
    # The second part stays in the write-ahead log: it is less than SQLite folds into the file.
    for part, messages in (("first", 600), ("second", 120)):
        storage = FileStorage(path, reactor)
        await storage.open()
        await fill(storage, part, messages)
        if part == "first":
            await storage.close()
    print(json.dumps(await content(storage)), flush=True)
    await Deferred()


def killed_server(directory):
    """Have a server acknowledge things, and kill it.

    :returns: what it had acknowledged.
    """
    path = directory / NAME
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.attacks.damage", path], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as server:
        acknowledged = json.loads(server.stdout.readline())
        server.send_signal(signal.SIGKILL)
    FileLock(str(path)).release()  # Its writer has ended, too.
    return acknowledged


def _cut(share):
    return lambda data: data[: int(len(data) * share)]


def _zeroed(share, length=PAGE):
    def change(data):
        start = int(len(data) * share) // length * length
        return data[:start] + bytes(min(length, len(data) - start)) + data[start + length :]

    return change


def _flipped(share, bit=3):
    def change(data):
        changed = bytearray(data)
        changed[min(int(len(data) * share), len(data) - 1)] ^= 1 << bit
        return bytes(changed)

    return change


def damages(seed=17, times=16):
    """Ways to damage the files.

    :returns: a list of ``(name, suffix, change)``, where ``change`` takes and gives the bytes, or is ``None`` to remove the file.
    """
    chance = random.Random(seed)
    ways = {"cut": _cut, "zeroed": _zeroed, "flipped": _flipped}
    found = [
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


def damage(source, target, suffix, change):
    """Make a damaged copy.

    :param source: the directory of a server that was killed.
    :param target: a directory that is made.
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


async def outcome(reactor, path, acknowledged, accepts_loss=False):
    """Start on damaged data, read all, write, and say how that went.

    :returns: one of the texts above, and what was said.
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
        result, said = await _look(storage, acknowledged)
        # An update that was lost leaves the command as it was before.
        is_lost = result == LOST or (result == ALTERED and said.startswith("command "))
        return (ACCEPTED, "; ".join(storage.losses)) if accepts_loss and is_lost and storage.losses else (result, said)
    finally:
        await storage.close()


async def _look(storage, acknowledged):
    try:
        found = await content(storage)
        user = await storage.insert(User(login="another", password="$hash$", role=1, status=0))
        message = Notification(name="another", device_id="device-1", network_id=1, device_type_id=1)
        await storage.append([message])
    except StorageUnavailable as error:
        return TOLD, str(error)
    except Exception as error:
        return DEFECT, repr(error)
    if str(user.id) in acknowledged["user"] or str(message.id) in acknowledged["notification"]:
        return GIVEN_AGAIN, ""
    if storage.problem():
        return TOLD, storage.problem()
    lost = [f"{kind} {key}" for kind, before in acknowledged.items() for key in before if key not in found[kind]]
    altered = [
        f"{kind} {key}" for kind, before in acknowledged.items() for key in before if found[kind].get(key, before[key]) != before[key]
    ]
    return (ALTERED, altered[0]) if altered else (LOST, lost[0]) if lost else (FINE, "")


async def _all(reactor):
    with tempfile.TemporaryDirectory() as name:
        source = Path(name, "killed")
        source.mkdir()
        acknowledged = killed_server(source)
        table = Counter()
        for number, (way, suffix, change) in enumerate(damages()):
            path = damage(source, Path(name, str(number)), suffix, change)
            result, said = await outcome(reactor, path, acknowledged)
            where = suffix or "main", way.split(" at ")[0]
            table[*where, result] += 1
            sys.stdout.write(f"{suffix or 'main'} {way}: {result}: {said[:300]}\n")
            if result in (REFUSED, TOLD):
                result, said = await outcome(reactor, path, acknowledged, accepts_loss=True)
                table[*where, f"  then accepted: {result}"] += 1
                sys.stdout.write(f"    accepted: {result}: {said[:600]}\n")
        for (suffix, way, result), count in sorted(table.items()):
            sys.stdout.write(f"{suffix:6} {way:12} {result:40} {count}\n")
        bad = sum(count for (_, _, result), count in table.items() if result.removeprefix("  then accepted: ") in BAD)
        sys.stdout.write(f"{len(damages())} ways, {table.total()} starts with those that accept the loss: {bad} are wrong\n")


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(_serve(reactor, sys.argv[1]) if sys.argv[1:] else _all(reactor)))

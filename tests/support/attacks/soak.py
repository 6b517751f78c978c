"""Clients that connect, subscribe, send, fail and leave, one after another: ``python -m tests.support.attacks.soak --minutes 10``.

The server's memory is sampled and must not grow: its median in the last third may be at most :data:`GROWTH` megabytes larger than in the
second third (Messages 9). In the first third caches and buffers fill. The program ends with status 1 when the memory has grown more.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import NamedTuple

import requests

from tests.support.attacks.client import Wire
from tests.support.attacks.corpus import frame, texts
from tests.support.attacks.measures import open_files, resident
from tests.support.servers.process import PASSWORD, ServerProcess

GROWTH = 4.0
DEVICES = 50
KEPT = "20s"
"""How long messages are kept: so short that as many expire as come."""


class Soak(NamedTuple):
    """The result.

    :ivar rounds: how often each behaviour has run.
    :ivar second_third: median of the memory in the second third, in megabytes.
    :ivar last_third: median of the memory in the last third, in megabytes.
    :ivar samples: all samples of the memory, in megabytes.
    :ivar files: open files before and after.
    """

    rounds: Counter[str]
    second_third: float
    last_third: float
    samples: list[float]
    files: tuple[int, int]


class Clients:
    """Behaviours of clients, each a method."""

    def __init__(self, server: ServerProcess, choose: random.Random) -> None:
        self._server = server
        self._choose = choose
        self._texts = texts(10**9)
        administrator = server.connect()
        self._token = administrator.call("token", login="dhadmin", password=PASSWORD)["accessToken"]
        for number in range(DEVICES):
            administrator.call("device/save", deviceId=f"d{number}", device={"name": "d", "networkId": 1, "deviceTypeId": 1})
        administrator.close()
        self._url = server.url("/api/rest", "http")

    def _device(self) -> str:
        return f"d{self._choose.randrange(DEVICES)}"

    def _enter(self) -> Wire:
        wire = Wire(self._server.port)
        wire.say(action="authenticate", token=self._token)
        wire.read_text()
        return wire

    def works_and_closes(self) -> None:
        """A good client: it subscribes, sends, receives, unsubscribes and closes."""
        wire, device = self._enter(), self._device()
        wire.say(action="notification/subscribe", deviceId=device)
        for number in range(20):
            wire.say(action="notification/insert", deviceId=device, notification={"notification": "n", "parameters": {"n": number}})
            wire.say(action="command/insert", deviceId=device, command={"command": "c"})
        wire.say(action="notification/unsubscribe", requestId="last")
        while json.loads(wire.read_text()).get("requestId") != "last":
            pass
        wire.socket.sendall(frame(b"\x03\xe8", 8))
        wire.close()

    def leaves_without_a_word(self) -> None:
        """It closes its socket during subscriptions, replays and requests."""
        wire = self._enter()
        wire.say(action="command/subscribe", timestamp="2020-01-01T00:00:00")
        wire.say(action="notification/subscribe", networkIds=[1], names=["n"])
        wire.say(action="command/insert", deviceId=self._device(), command={"command": "c"})
        wire.close()

    def does_not_read(self) -> None:
        """It asks for many messages, reads none, and leaves."""
        wire = self._enter()
        wire.say(action="notification/subscribe", timestamp="2020-01-01T00:00:00")
        for _ in range(20):
            wire.say(action="notification/list", deviceId=self._device(), take=1000)
        wire.close()

    def sends_nonsense(self) -> None:
        """It sends broken JSON and unknown actions, then a broken frame."""
        wire = self._enter()
        for _ in range(20):
            wire.send_text(next(self._texts))
        with suppress(ConnectionError):
            wire.socket.sendall(b"\xff\xff\xff\xff")
            wire.close_code()
        wire.close()

    def fails_to_log_in(self) -> None:
        """It tries unknown logins with wrong passwords, and invalid tokens."""
        wire = Wire(self._server.port)
        wire.say(action="token", login=f"nobody-{self._choose.random()}", password="wrong-password")
        wire.say(action="authenticate", token=f"no.{self._choose.random()}.token")
        for _ in range(2):
            wire.read_text()
        wire.close()

    def polls_and_gives_up(self) -> None:
        """It begins a long poll and does not wait for the answer."""
        headers = {"Authorization": f"Bearer {self._token}"}
        with suppress(requests.exceptions.Timeout):
            requests.get(f"{self._url}/device/notification/poll?names=none&waitTimeout=30", headers=headers, timeout=0.05)

    def manages(self) -> None:
        """It makes and deletes entities."""
        headers, name = {"Authorization": f"Bearer {self._token}"}, f"x{self._choose.random()}"
        requests.put(f"{self._url}/device/{name}", json={"name": name, "networkId": 1, "deviceTypeId": 1}, headers=headers, timeout=30)
        requests.put(f"{self._url}/configuration/{name}", json={"value": "x" * 1000}, headers=headers, timeout=30)
        requests.delete(f"{self._url}/configuration/{name}", headers=headers, timeout=30)
        requests.delete(f"{self._url}/device/{name}", headers=headers, timeout=30)

    def one(self) -> str:
        """Run a random behaviour. Returns its name."""
        behaviour = self._choose.choice(BEHAVIOURS)
        behaviour(self)
        return behaviour.__name__


BEHAVIOURS: list[Callable[[Clients], None]] = [value for name, value in vars(Clients).items() if not name.startswith("_") and name != "one"]


def run(directory: str | Path, seconds: float, tell: Callable[[str], object] = lambda text: None) -> Soak:
    """Run the clients against a server.

    :param directory: for the server's data.
    :param tell: called with a line of progress from time to time.
    """
    server = ServerProcess(
        directory, "--storage", "file:hive.sqlite", DHTWISTED_STORAGE_RETENTION=KEPT, DHTWISTED_LIMITS_LOGINS_PER_MINUTE="0"
    )
    try:
        clients = Clients(server, random.Random(1))
        clients.works_and_closes()
        files = open_files(server)
        rounds: Counter[str] = Counter()
        samples: list[float] = []
        begun = sampled = time.monotonic()
        while time.monotonic() - begun < seconds:
            rounds[clients.one()] += 1
            if time.monotonic() - sampled > seconds / 300:
                sampled = time.monotonic()
                samples.append(resident(server))
                if len(samples) % 30 == 0:
                    tell(f"{sampled - begun:.0f} s: {samples[-1]:.1f} MB, {sum(rounds.values())} clients")
        server.connect().close()
        assert "Traceback" not in server.log
        third = len(samples) // 3
        return Soak(rounds, median(samples[third : 2 * third]), median(samples[2 * third :]), samples, (files, open_files(server)))
    finally:
        server.kill()


def main() -> None:
    """Run the program, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    seconds = parser.parse_args().minutes * 60
    with tempfile.TemporaryDirectory() as directory:
        seen = run(directory, seconds, lambda text: sys.stdout.write(f"{text}\n"))
    counts = ", ".join(f"{name} {count}" for name, count in sorted(seen.rounds.items()))
    sys.stdout.write(
        f"{sum(seen.rounds.values())} clients ({counts});\n"
        f"memory {min(seen.samples):.1f} to {max(seen.samples):.1f} MB, medians of the second third {seen.second_third:.1f}, "
        f"of the last {seen.last_third:.1f}; open files {seen.files[0]} before, {seen.files[1]} after\n"
    )
    sys.exit(seen.last_third - seen.second_third > GROWTH)


if __name__ == "__main__":
    main()

"""Hours in minutes: clients that come, subscribe, send, fail and leave in every way: ``python -m tests.support.attacks.soak --minutes 10``.

The server's memory is sampled, and must stay flat: its median in the last third may exceed that of the second third by no more than
:data:`GROWTH` megabytes (Messages 9). The first third is for caches and buffers to fill. Ends with status 1 when it does not.
"""

import argparse
import json
import random
import sys
import tempfile
import time
from collections import Counter, namedtuple
from contextlib import suppress
from statistics import median

import requests

from tests.support.attacks.client import Wire
from tests.support.attacks.corpus import frame, texts
from tests.support.attacks.measures import open_files, resident
from tests.support.servers.process import PASSWORD, ServerProcess

GROWTH = 4.0
DEVICES = 50
KEPT = "20s"
"""How long messages are kept: as many go as come."""

Soak = namedtuple("Soak", "rounds second_third last_third samples files")
"""What was seen: how often each behaviour came to its end, medians of memory and all samples in megabytes, open files before and after."""


class Clients:
    """Behaviours of clients, each a method.

    :param server: a ``ServerProcess``.
    :param choose: a ``random.Random``.
    """

    def __init__(self, server, choose):
        self._server = server
        self._choose = choose
        self._texts = texts(10**9)
        administrator = server.connect()
        self._token = administrator.call("token", login="dhadmin", password=PASSWORD)["accessToken"]
        for number in range(DEVICES):
            administrator.call("device/save", deviceId=f"d{number}", device={"name": "d", "networkId": 1, "deviceTypeId": 1})
        administrator.close()
        self._url = server.url("/api/rest", "http")

    def _device(self):
        return f"d{self._choose.randrange(DEVICES)}"

    def _enter(self):
        wire = Wire(self._server.port)
        wire.say(action="authenticate", token=self._token)
        wire.read_text()
        return wire

    def works_and_closes(self):
        """A good client: it subscribes, sends, hears, unsubscribes, closes."""
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

    def leaves_without_a_word(self):
        """With subscriptions, replays and requests under way."""
        wire = self._enter()
        wire.say(action="command/subscribe", timestamp="2020-01-01T00:00:00")
        wire.say(action="notification/subscribe", networkIds=[1], names=["n"])
        wire.say(action="command/insert", deviceId=self._device(), command={"command": "c"})
        wire.close()

    def does_not_read(self):
        """It asks for much, and goes when it pleases."""
        wire = self._enter()
        wire.say(action="notification/subscribe", timestamp="2020-01-01T00:00:00")
        for _ in range(20):
            wire.say(action="notification/list", deviceId=self._device(), take=1000)
        wire.close()

    def sends_nonsense(self):
        """Broken JSON, unknown actions, then a broken frame."""
        wire = self._enter()
        for _ in range(20):
            wire.send_text(next(self._texts))
        with suppress(ConnectionError):
            wire.socket.sendall(b"\xff\xff\xff\xff")
            wire.close_code()
        wire.close()

    def fails_to_log_in(self):
        """Wrong passwords of logins that nobody has, and tokens of nobody."""
        wire = Wire(self._server.port)
        wire.say(action="token", login=f"nobody-{self._choose.random()}", password="wrong-password")
        wire.say(action="authenticate", token=f"no.{self._choose.random()}.token")
        for _ in range(2):
            wire.read_text()
        wire.close()

    def polls_and_gives_up(self):
        """A long poll whose client does not wait."""
        headers = {"Authorization": f"Bearer {self._token}"}
        with suppress(requests.exceptions.Timeout):
            requests.get(f"{self._url}/device/notification/poll?names=none&waitTimeout=30", headers=headers, timeout=0.05)

    def manages(self):
        """Entities come and go."""
        headers, name = {"Authorization": f"Bearer {self._token}"}, f"x{self._choose.random()}"
        requests.put(f"{self._url}/device/{name}", json={"name": name, "networkId": 1, "deviceTypeId": 1}, headers=headers, timeout=30)
        requests.put(f"{self._url}/configuration/{name}", json={"value": "x" * 1000}, headers=headers, timeout=30)
        requests.delete(f"{self._url}/configuration/{name}", headers=headers, timeout=30)
        requests.delete(f"{self._url}/device/{name}", headers=headers, timeout=30)

    def one(self):
        """A random one of these; returns its name."""
        behaviour = self._choose.choice(BEHAVIOURS)
        behaviour(self)
        return behaviour.__name__


BEHAVIOURS = [value for name, value in vars(Clients).items() if not name.startswith("_") and name != "one"]


def run(directory, seconds, tell=lambda text: None):
    """One soak.

    :param tell: called with a line from time to time.
    :returns: a :class:`Soak`.
    """
    server = ServerProcess(
        directory, "--storage", "file:hive.sqlite", DHTWISTED_STORAGE_RETENTION=KEPT, DHTWISTED_LIMITS_LOGINS_PER_MINUTE="0"
    )
    try:
        clients = Clients(server, random.Random(1))
        clients.works_and_closes()
        files, rounds, samples = open_files(server), Counter(), []
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


def main():
    """Tell what was seen."""
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

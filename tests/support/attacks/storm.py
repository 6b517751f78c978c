"""Very many idle clients, and their storm when the server was killed: ``python -m tests.support.attacks.storm --clients 10000``.

Each authenticates and subscribes. The server is killed and started again at its port, and all come back within two seconds, again and again
until they are served. It ends with status 1 when that takes longer than it may (Messages 9).
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import namedtuple

from tests.support.attacks.corpus import frame
from tests.support.attacks.measures import raise_own_file_limit, resident
from tests.support.ports import free_port
from tests.support.servers.process import PASSWORD, ServerProcess

WITHIN, PATIENCE = 2.0, 90.0
MOST_MEGABYTES, OF_CLIENTS = 150, 10_000
HEAD = (
    b"GET /api/websocket HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)

Storm = namedtuple("Storm", "clients seconds_of_opening megabytes seconds_of_storm tries")
"""What was seen: seconds until all were served at first, the server's memory then, seconds after the kill, with how many tries."""


class Idle:
    """One client that is connected and waits.

    :ivar tries: how often it has connected.
    """

    def __init__(self, port, token):
        self._port = port
        requests = ({"action": "authenticate", "token": token}, {"action": "notification/subscribe", "deviceId": "pump"})
        self._said = HEAD + b"".join(frame(json.dumps(request).encode()) for request in requests)
        self._writer = None
        self.tries = 0

    async def come(self, within):
        """Connect, authenticate and subscribe, until it is done."""
        await asyncio.sleep(random.random() * within)
        while True:
            self.tries += 1
            try:
                await self._come()
                return
            except (OSError, asyncio.IncompleteReadError):
                self.leave()
                await asyncio.sleep(0.2 + random.random())

    async def _come(self):
        reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writer.write(self._said)
        await reader.readuntil(b"\r\n\r\n")
        for _ in range(2):
            await reader.readuntil(b'"status":"success"')

    def leave(self):
        """Go without a word."""
        if self._writer is not None:
            self._writer.transport.abort()
            self._writer = None


async def all_come(clients, within):
    """Have all come within so many seconds; returns the seconds until all are served."""
    begun = time.monotonic()
    await asyncio.wait_for(asyncio.gather(*(client.come(within) for client in clients)), PATIENCE)
    return time.monotonic() - begun


def run(directory, count):
    """One storm.

    :param directory: where the server keeps its data.
    :returns: a :class:`Storm`.
    """
    options = {"endpoint": f"tcp:{free_port()}:interface=127.0.0.1", "DHTWISTED_LIMITS_PING_INTERVAL": "30s"}
    server = ServerProcess(directory, "--storage", "file:hive.sqlite", **options)
    try:
        administrator = server.connect()
        administrator.call("device/save", deviceId="pump", device={"name": "Pump", "networkId": 1, "deviceTypeId": 1})
        token = administrator.call("token", login="dhadmin", password=PASSWORD)["accessToken"]
        administrator.close()
        clients = [Idle(server.port, token) for _ in range(count)]
        opening, megabytes, server, storm = asyncio.run(_storm(server, clients, directory, options))
        assert "Traceback" not in server.log
        return Storm(count, opening, megabytes, storm, sum(client.tries for client in clients) - count)
    finally:
        server.kill()


async def _storm(server, clients, directory, options):
    opening = await all_come(clients, WITHIN)
    megabytes = resident(server)
    server.kill()
    for client in clients:
        client.leave()
    loop = asyncio.get_running_loop()
    starting = loop.run_in_executor(None, lambda: ServerProcess(directory, "--storage", "file:hive.sqlite", **options))
    try:
        return opening, megabytes, await starting, await all_come(clients, WITHIN)
    finally:
        for client in clients:
            client.leave()


def main():
    """Tell what was seen."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=OF_CLIENTS)
    count = parser.parse_args().clients
    if raise_own_file_limit() < count + 100:
        sys.exit(f"{count} clients need a higher limit of open files (ulimit -n)")
    with tempfile.TemporaryDirectory() as directory:
        seen = run(directory, count)
    sys.stdout.write(
        f"{seen.clients} clients: served {seen.seconds_of_opening:.1f} s after the first came; {seen.megabytes:.0f} MB;\n"
        f"after kill -9 and a restart all were served in {seen.seconds_of_storm:.1f} s, with {seen.tries} tries\n"
    )
    sys.exit(seen.megabytes > MOST_MEGABYTES and count <= OF_CLIENTS)


if __name__ == "__main__":
    main()

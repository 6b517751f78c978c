"""Very many idle clients that all reconnect when the server was killed: ``python -m tests.support.attacks.storm --clients 10000``.

Each client authenticates and subscribes. The server is killed and started again at its port. All clients reconnect within two seconds, and
try again until the server has answered. The program fails when that takes too long, and ends with status 1 when the server needs too
much memory (Messages 9).
"""

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

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


class Storm(NamedTuple):
    """The result.

    :ivar clients: number of clients.
    :ivar seconds_of_opening: seconds until all were connected at first.
    :ivar megabytes: the server's memory then.
    :ivar seconds_of_storm: seconds until all were connected again after the kill.
    :ivar tries: number of attempts to connect after the first of each client.
    """

    clients: int
    seconds_of_opening: float
    megabytes: float
    seconds_of_storm: float
    tries: int


class Idle:
    """A client that connects and then waits.

    :ivar tries: how often it has tried to connect.
    """

    def __init__(self, port: int, token: str) -> None:
        self._port = port
        requests: tuple[dict[str, Any], ...] = (
            {"action": "authenticate", "token": token},
            {"action": "notification/subscribe", "deviceId": "pump"},
        )
        self._said = HEAD + b"".join(frame(json.dumps(request).encode()) for request in requests)
        self._writer: asyncio.StreamWriter | None = None
        self.tries = 0

    async def come(self, within: float) -> None:
        """Connect, authenticate and subscribe. Repeat until that succeeds."""
        await asyncio.sleep(random.random() * within)
        while True:
            self.tries += 1
            try:
                await self._come()
                return
            except (OSError, asyncio.IncompleteReadError):
                self.leave()
                await asyncio.sleep(0.2 + random.random())

    async def _come(self) -> None:
        reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writer.write(self._said)
        await reader.readuntil(b"\r\n\r\n")
        for _ in range(2):
            await reader.readuntil(b'"status":"success"')

    def leave(self) -> None:
        """Close the connection without a close frame."""
        if self._writer is not None:
            self._writer.transport.abort()
            self._writer = None


async def all_come(clients: Sequence[Idle], within: float) -> float:
    """Connect all clients within so many seconds. Returns the seconds until all are connected."""
    begun = time.monotonic()
    await asyncio.wait_for(asyncio.gather(*(client.come(within) for client in clients)), PATIENCE)
    return time.monotonic() - begun


def run(directory: str | Path, count: int) -> Storm:
    """Run the storm against a server.

    :param directory: for the server's data.
    :param count: number of clients.
    """
    options: dict[str, Any] = {"endpoint": f"tcp:{free_port()}:interface=127.0.0.1", "DHTWISTED_LIMITS_PING_INTERVAL": "30s"}
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


async def _storm(
    server: ServerProcess, clients: Sequence[Idle], directory: str | Path, options: dict[str, Any]
) -> tuple[float, float, ServerProcess, float]:
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


def main() -> None:
    """Run the program, and write the result."""
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

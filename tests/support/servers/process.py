"""The server as a process, started as a user starts it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import websocket

PASSWORD = "administrator-1"
START_SECONDS = 30
_LISTENING = re.compile(r"Listening on 127\.0\.0\.1:(\d+)")
DEVICEHIVE = (sys.executable, "-m", "dhtwisted")
CHECKOUT = Path(__file__).parents[3]


class ServerProcess:
    """A running ``devicehive``.

    :param directory: its working directory; its data is there.
    :param arguments: for the command line; ``--listen`` on a free port is added.
    :param pass_fds: file descriptors that it inherits.
    :ivar port: the port on which it listens.
    """

    def __init__(
        self,
        directory: str | Path,
        *arguments: str,
        command: Sequence[str] = DEVICEHIVE,
        endpoint: str = "tcp:0:interface=127.0.0.1",
        pass_fds: Collection[int] = (),
        **environment: str,
    ) -> None:
        self.log_path = Path(directory, "server.log")
        paths = os.pathsep.join([str(CHECKOUT), *filter(None, [os.environ.get("PYTHONPATH")])])
        values = {"DHTWISTED_AUTH_ADMIN_PASSWORD": PASSWORD, "DHTWISTED_AUTH_PASSWORD_COST": "10", "PYTHONPATH": paths}
        with self.log_path.open("ab") as log:
            self.log_start = log.tell()
            self.process = subprocess.Popen(
                [*command, "--listen", endpoint, *arguments],
                cwd=directory,
                env=os.environ | values | environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=pass_fds,
            )
        self.port = self._wait_until_listening()

    @property
    def log(self) -> str:
        """The output of this process."""
        return self.log_path.read_bytes()[self.log_start :].decode()

    def _wait_until_listening(self) -> int:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            found = _LISTENING.search(self.log)
            if found:
                return int(found[1])
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        self.kill()
        raise AssertionError(f"the server does not listen: {self.log}")

    def url(self, path: str = "/api/websocket", scheme: str = "ws") -> str:
        """An address of the server."""
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    def kill(self) -> None:
        """Kill the process with ``kill -9``."""
        self.process.kill()
        self.process.wait()

    def terminate(self) -> int:
        """Send SIGTERM and wait for the end. Returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=START_SECONDS)

    def connect(self) -> Client:
        """Make a client that is logged in as the administrator."""
        client = Client(self.url())
        client.log_in()
        return client


class Refused(AssertionError):
    """A request that must succeed was refused; the text is the reply."""


class Client:
    """A WebSocket client that waits for each answer.

    :ivar events: the events that came while :meth:`call` waited for replies.
    """

    def __init__(self, url: str, **options: Any) -> None:
        self.socket = websocket.create_connection(url, timeout=START_SECONDS, **options)
        self.events: list[dict[str, Any]] = []

    def send(self, **members: Any) -> None:
        """Send a request."""
        self.socket.send(json.dumps(members))

    def receive(self) -> dict[str, Any]:
        """Wait for the next message.

        :raises EOFError: the server closed the connection.
        """
        text = self.socket.recv()
        if not text:
            raise EOFError("the server closed the connection")
        return json.loads(text)

    def call(self, action: str, **members: Any) -> dict[str, Any]:
        """Send a request that must succeed. Returns the reply. Events that come before it go into ``events``."""
        self.send(action=action, requestId=action, **members)
        while "status" not in (message := self.receive()):
            self.events.append(message)
        if message["status"] != "success":
            raise Refused(message)
        return message

    def log_in(self) -> None:
        """Authenticate as the administrator."""
        token = self.call("token", login="dhadmin", password=PASSWORD)["accessToken"]
        self.call("authenticate", token=token)

    def close(self) -> None:
        """Close the connection."""
        self.socket.close()

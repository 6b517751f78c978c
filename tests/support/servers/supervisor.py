"""The parts of systemd that a server uses."""

import os
import socket
import sys
from collections.abc import Iterable
from pathlib import Path

SECONDS = 30
_ACTIVATE = """
import os, sys
if int(sys.argv[1]) != 3:
    os.dup2(int(sys.argv[1]), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="devicehive")
os.execv(sys.argv[2], sys.argv[2:])
"""


def activated(descriptor: int, command: Iterable[str]) -> tuple[str, ...]:
    """A command that starts another command with a socket, as systemd does: the socket is file descriptor 3, and the environment has the
    process id.
    """
    return (sys.executable, "-c", _ACTIVATE, str(descriptor), *command)


class NotifySocket:
    """Receives the messages of a process to its supervisor.

    :param address: a path, or ``@name`` for an abstract one.
    """

    def __init__(self, address: str | Path) -> None:
        self.address = str(address)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(SECONDS)
        self._socket.bind(f"\0{self.address[1:]}" if self.address.startswith("@") else self.address)

    def receive(self) -> dict[str, str]:
        """The next message: name -> value."""
        return dict(line.split("=", 1) for line in self._socket.recv(4096).decode().splitlines())

    def until(self, name: str) -> dict[str, str]:
        """The next message that has a name. Messages before it are skipped."""
        while name not in (message := self.receive()):
            pass
        return message

    def drain(self) -> None:
        """Forget the messages that have come."""
        self._socket.setblocking(False)
        try:
            while True:
                self._socket.recv(4096)
        except BlockingIOError:
            self._socket.settimeout(SECONDS)

    def is_silent(self, seconds: float) -> bool:
        """Whether no message comes for so many seconds."""
        self._socket.settimeout(seconds)
        try:
            self._socket.recv(4096)
        except TimeoutError:
            return True
        finally:
            self._socket.settimeout(SECONDS)
        return False

    def close(self) -> None:
        """Close the socket and remove it."""
        self._socket.close()
        if not self.address.startswith("@"):
            os.unlink(self.address)

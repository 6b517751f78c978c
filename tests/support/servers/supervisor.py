"""The part of systemd that a server talks to."""

import os
import socket
import sys

SECONDS = 30
_ACTIVATE = """
import os, sys
if int(sys.argv[1]) != 3:
    os.dup2(int(sys.argv[1]), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="devicehive")
os.execv(sys.argv[2], sys.argv[2:])
"""


def activated(descriptor, command):
    """A command that starts another with a socket, as systemd does it: the socket is descriptor 3, and the process id is named."""
    return (sys.executable, "-c", _ACTIVATE, str(descriptor), *command)


class NotifySocket:
    """Takes what a process tells its supervisor.

    :param address: a path, or ``@name`` for an abstract one.
    """

    def __init__(self, address):
        self.address = str(address)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(SECONDS)
        self._socket.bind(f"\0{self.address[1:]}" if self.address.startswith("@") else self.address)

    def receive(self):
        """The next message: name -> value."""
        return dict(line.split("=", 1) for line in self._socket.recv(4096).decode().splitlines())

    def until(self, name):
        """The next message that has a name; what was said before is passed over."""
        while name not in (message := self.receive()):
            pass
        return message

    def drain(self):
        """Forget what has come."""
        self._socket.setblocking(False)
        try:
            while True:
                self._socket.recv(4096)
        except BlockingIOError:
            self._socket.settimeout(SECONDS)

    def is_silent(self, seconds):
        """Whether nothing comes for so long."""
        self._socket.settimeout(seconds)
        try:
            self._socket.recv(4096)
        except TimeoutError:
            return True
        finally:
            self._socket.settimeout(SECONDS)
        return False

    def close(self):
        """Listen no longer."""
        self._socket.close()
        if not self.address.startswith("@"):
            os.unlink(self.address)

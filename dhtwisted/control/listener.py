"""Accepts the connections of a socket that is already open."""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Any

from twisted.internet.abstract import FileDescriptor

ACCEPT_PAUSE = 1.0
"""Seconds to wait after the process had no file descriptor left for a caller."""


class Listener(FileDescriptor):
    """Accepts connections. Twisted's port would change the mode of the file, and delete it, by its name: it could be another server's.

    :param accept: called with each connection, which is closed afterwards.
    """

    reactor: Any

    def __init__(self, reactor: Any, listener: socket.socket, accept: Callable[[socket.socket], None]) -> None:
        super().__init__(reactor)
        self._listener, self._accept = listener, accept
        self._retry = None

    def fileno(self) -> int:
        return self._listener.fileno()

    def doRead(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                raise
            # The waiting caller would make the reactor call this again and again.
            self.stopReading()
            self._retry = self.reactor.callLater(ACCEPT_PAUSE, self.startReading)
            return
        with connection:
            connection.setblocking(False)
            self._accept(connection)

    def close(self) -> None:
        """Stop accepting."""
        if self._retry is not None and self._retry.active():
            self._retry.cancel()
        self.stopReading()
        self._listener.close()

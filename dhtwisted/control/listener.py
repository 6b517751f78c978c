"""Accepts the connections of a socket that is open already."""

import errno

from twisted.internet.abstract import FileDescriptor

ACCEPT_PAUSE = 1.0
"""Seconds until callers are accepted again, when there was no file left for one."""


class Listener(FileDescriptor):
    """Accepts connections. Twisted's own port would set the mode of the file, and delete it, by its name alone.

    :param accept: called with each ``socket``, which is closed after that.
    """

    def __init__(self, reactor, listener, accept):
        super().__init__(reactor)
        self._listener, self._accept = listener, accept
        self._retry = None

    def fileno(self):
        return self._listener.fileno()

    def doRead(self):
        try:
            connection, _ = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                raise
            # Who waits there would make this be called for ever.
            self.stopReading()
            self._retry = self.reactor.callLater(ACCEPT_PAUSE, self.startReading)
            return
        with connection:
            connection.setblocking(False)
            self._accept(connection)

    def close(self):
        """Accept nobody any more."""
        if self._retry is not None and self._retry.active():
            self._retry.cancel()
        self.stopReading()
        self._listener.close()

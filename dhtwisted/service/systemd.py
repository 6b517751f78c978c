"""What the server tells its supervisor: that it listens, reloads, stops, and that its reactor still turns.

The protocol is ``sd_notify`` of systemd, which others speak as well: datagrams of ``NAME=value`` lines to the socket that
``$NOTIFY_SOCKET`` names. Without that variable nothing is told.
"""

import os
import socket
import time

from twisted.internet.task import LoopingCall
from twisted.logger import Logger

STARTING_INTERVAL = 10
"""Seconds between two words that a start still goes on. It may be long: it waits for a database, and reads what is stored."""

STARTING_EXTENSION = 60
"""Seconds by which each of them puts off the supervisor's own limit for a start."""

_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Supervisor:
    """Whoever started this process and wants to be told.

    :param reactor: a reactor that is stuck tells nothing, which is what the watchdog is for.
    :param environment: a mapping such as ``os.environ``. What is meant for this process alone is taken out of it.
    """

    log = Logger()

    def __init__(self, reactor, environment):
        address, interval, process = (environment.pop(name, "") for name in _VARIABLES)
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._interval = _seconds(interval) / 2 if process in ("", str(os.getpid())) else 0
        self._beat = LoopingCall(self._tell, EXTEND_TIMEOUT_USEC=STARTING_EXTENSION * 1_000_000)
        self._watchdog = LoopingCall(self._tell, WATCHDOG=1)
        self._beat.clock = self._watchdog.clock = reactor

    def starting(self):
        """The start goes on, until :meth:`ready` or :meth:`stopping`."""
        if self._address and not self._beat.running:
            self._beat.start(STARTING_INTERVAL)

    def ready(self, status):
        """The server listens, or has reloaded.

        :param status: one line for the person who asks how it is.
        """
        self._tell(READY=1, STATUS=status)
        if self._beat.running:
            self._beat.stop()
        if self._address and self._interval and not self._watchdog.running:
            self._watchdog.start(self._interval)

    def reloading(self):
        """A reload begins; :meth:`ready` ends it."""
        self._tell(RELOADING=1, MONOTONIC_USEC=time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000)

    def stopping(self, status="Stopping"):
        """The server stops. The watchdog goes on: a stop is bounded, and a reactor that is stuck meanwhile is still stuck."""
        if self._beat.running:
            self._beat.stop()
        self._tell(STOPPING=1, STATUS=status)

    def stopped(self):
        """The server has stopped."""
        if self._watchdog.running:
            self._watchdog.stop()

    def _tell(self, **values):
        if not self._address:
            return
        text = "".join(f"{name}={_in_one_line(value)}\n" for name, value in values.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as connection:
                connection.sendto(text.encode(), self._address)
        except OSError as error:
            # It goes on without: a supervisor that hears nothing does what it is configured to do.
            self.log.warn("The supervisor at $NOTIFY_SOCKET was not told {names}: {error}", names=", ".join(values), error=str(error))


def _in_one_line(value):
    return " ".join(str(value).split())


def _seconds(text):
    """Seconds of a count of microseconds; 0 for what is no such count."""
    return int(text) / 1_000_000 if text.isascii() and text.isdecimal() else 0

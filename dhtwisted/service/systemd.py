"""Reports to the supervisor of the process: that the server listens, reloads or stops, and that its reactor still runs.

The protocol is ``sd_notify`` of systemd, which other supervisors use as well: datagrams of ``NAME=value`` lines to the socket in
``$NOTIFY_SOCKET``. Without that variable nothing is sent.
"""

import os
import socket
import time
from collections.abc import MutableMapping
from functools import partial

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from dhtwisted.kit.repeated_work import RepeatedWork

STARTING_INTERVAL = 10
"""Seconds between two reports of a start that goes on. A start may take long: it waits for a database, and reads stored data."""

STARTING_EXTENSION = 60
"""Seconds by which each of these reports extends the supervisor's own time limit for a start."""

_VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")


class Supervisor:
    """The program that started this process and wants reports, such as systemd.

    :param reactor: sends the watchdog's reports. A reactor that hangs sends none, and so the watchdog notices.
    :param environment: ``os.environ``. The variables for this process are removed from it.
    """

    log = Logger()

    def __init__(self, reactor: IReactorTime, environment: MutableMapping[str, str]) -> None:
        address, interval, process = (environment.pop(name, "") for name in _VARIABLES)
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._interval = _seconds(interval) / 2 if process in ("", str(os.getpid())) else 0.0
        what = "reporting to the supervisor"
        self._extension = RepeatedWork(reactor, what, partial(self._send, EXTEND_TIMEOUT_USEC=STARTING_EXTENSION * 1_000_000))
        self._watchdog = RepeatedWork(reactor, what, partial(self._send, WATCHDOG=1))

    def starting(self) -> None:
        """Report that the start goes on, until :meth:`ready` or :meth:`stopping`."""
        if self._address:
            self._extension.start(STARTING_INTERVAL, now=True)

    def ready(self, status: str) -> None:
        """Report that the server listens, or has reloaded.

        :param status: one line for ``systemctl status``.
        """
        self._send(READY=1, STATUS=status)
        self._extension.stop()
        if self._address and self._interval:
            self._watchdog.start(self._interval, now=True)

    def reloading(self) -> None:
        """Report that a reload begins; :meth:`ready` reports its end."""
        self._send(RELOADING=1, MONOTONIC_USEC=time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000)

    def stopping(self, status: str = "Stopping") -> None:
        """Report that the server stops. The watchdog stays on: a stop has a time limit, and a reactor that hangs in it must be noticed."""
        self._extension.stop()
        self._send(STOPPING=1, STATUS=status)

    def stopped(self) -> None:
        """The server has stopped: end the watchdog."""
        self._watchdog.stop()

    def _send(self, **values: str | int) -> None:
        if not self._address:
            return
        text = "".join(f"{name}={_one_line(value)}\n" for name, value in values.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as connection:
                connection.sendto(text.encode(), self._address)
        except OSError as error:
            # The server continues: a supervisor that gets no report does what it is configured to do.
            self.log.warn(
                "{names} could not be sent to the supervisor at $NOTIFY_SOCKET: {error}", names=", ".join(values), error=str(error)
            )


def _one_line(value: str | int) -> str:
    return " ".join(str(value).split())


def _seconds(text: str) -> float:
    """Seconds of a number of microseconds; 0 for any other text."""
    return int(text) / 1_000_000 if text.isascii() and text.isdecimal() else 0.0

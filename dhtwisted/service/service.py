"""The server as a Twisted service: it starts in a fixed order, listens, reloads, and stops within a time limit."""

from collections.abc import Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from dhtwisted.config.reloading import Reloading
from dhtwisted.config.settings import Settings
from dhtwisted.errors import AuthUnavailable, ConfigurationError, StorageError
from dhtwisted.logs.audit import Audit
from dhtwisted.logs.observer import ProcessLog
from dhtwisted.service.closing import ClosingStack
from dhtwisted.service.listening import Address
from dhtwisted.service.process import Process
from dhtwisted.service.startup import Startup

START_GRACE = 5.0
"""Seconds that a running start gets to finish before a stop cancels it."""

EXPECTED_FAILURES = (ConfigurationError, StorageError, AuthUnavailable, CannotListenError, OSError)
"""Failures that the operator can fix; they are one line in the log. Any other is a defect and is logged with its traceback."""


class DeviceHiveService(Service):
    """One server.

    :param reactor: the reactor to run in.
    :param foreground: whether somebody sees standard output; otherwise a new password goes to a file.
    :param process: ``None`` leaves signals, exit status and garbage collector alone.
    :param read_settings: reads the configuration again for :meth:`reload`; ``None`` for a configuration that cannot change.
    :param process_log: ``None`` leaves the log to others.
    :param accepts_loss: start even if acknowledged data are missing.
    :ivar reloading: applies a changed configuration; a part that can apply a change adds itself there.
    :ivar started: a Deferred. It fires with true when the server listens, and with false when it cannot start and everything is closed
        again.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        foreground: bool = True,
        process: Process | None = None,
        read_settings: Callable[[], Settings] | None = None,
        process_log: ProcessLog | None = None,
        accepts_loss: bool = False,
    ) -> None:
        self.started: Deferred[bool] | None = None
        self.reloading = Reloading(read_settings or (lambda: settings), settings)
        self._reactor = reactor
        self._settings = settings
        self._process = process
        self._process_log = process_log
        self._closing = ClosingStack(reactor)
        self._startup = Startup(reactor, settings, self._closing, self.reloading, process_log, foreground, accepts_loss)

    @property
    def addresses(self) -> list[Address]:
        """``(host, port)`` of each endpoint that listens; the path and ``None`` for a Unix socket."""
        return self._startup.listeners.addresses

    @property
    def monitor_addresses(self) -> list[Address]:
        """The same for the endpoints of health and metrics."""
        return self._startup.listeners.monitor_addresses

    def setServiceParent(self, parent: Any) -> None:
        """Become a part of an application, and install the log that the configuration describes."""
        if self._process_log is not None:
            try:
                self._process_log.install(parent)
            except ConfigurationError as error:
                # There is no log yet that could show the error.
                raise SystemExit(f"devicehive: {error}") from error
        super().setServiceParent(parent)

    def startService(self) -> None:
        """Begin to start; :attr:`started` fires at the end of the start."""
        super().startService()
        if self._process is not None:
            self._process.starting(self._settings.limits.connections, self.reload)
        self.started = Deferred.fromCoroutine(self._start())

    def stopService(self) -> Deferred[None]:
        """Accept no more clients, finish the requests of the others, and close everything.

        :returns: a Deferred; it fires within :data:`~dhtwisted.service.closing.STOP_BOUND` seconds.
        """
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    def reload(self) -> str:
        """Read the configuration again, and apply what can be applied. The log says what was changed.

        :returns: one line about the state of the server.
        """
        if not self.running or self.started is None or not self.started.called:
            self.log.warn("Not reloaded: the server has not started yet, or is about to stop")
            return "Starting or stopping"
        is_valid = self.reloading.reload()
        self._reopen_logs()
        self._startup.audit.reloaded(is_valid, self.reloading.changed)
        return self._status() if is_valid else f"{self._status()}; the configuration has a mistake, see the log"

    async def _start(self) -> bool:
        try:
            await self._startup.run()
        except Exception as error:
            if self.running:
                self._log_failure(error)
            await self._closing.close_all()
            if self.running and self._process is not None:
                self._process.failed()
            return False
        self._set_listening(bool(self.running))
        if self._process is not None:
            self._process.started(self._status())
        return True

    async def _stop(self) -> None:
        self._closing.start_time_limit()
        self.log.info("Stopping")
        if self._process is not None:
            self._process.stopping()
        self._set_listening(False)
        if self.started is not None:
            await self.started.addTimeout(START_GRACE, self._reactor)
        await self._closing.close_all()
        self.log.info("Stopped")
        if self._process is not None:
            self._process.stopped()

    def _set_listening(self, is_listening: bool) -> None:
        """Say in health and metrics whether clients are served."""
        if self._startup.monitor is not None:
            self._startup.monitor.is_listening = is_listening

    def _reopen_logs(self) -> None:
        """Open the log files again, which logrotate may have moved."""
        logs: list[ProcessLog | Audit] = [self._startup.audit]
        if self._process_log is not None:
            logs.insert(0, self._process_log)
        for log in logs:
            try:
                log.reopen()
            except OSError as error:
                self.log.error("A log file cannot be opened again, the server writes to the old one: {error}", error=str(error))

    def _status(self) -> str:
        return "Listening on " + ", ".join(self._startup.listeners.shown)

    def _log_failure(self, error: Exception) -> None:
        if isinstance(error, EXPECTED_FAILURES):
            self.log.critical("Cannot start: {reason}", reason=" ".join(str(error).split()))
        else:
            self.log.failure("Cannot start because of a defect")

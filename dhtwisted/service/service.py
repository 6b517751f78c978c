"""The server as a Twisted service: an ordered start, after which it listens, and an ordered stop within a bound.

Whatever is opened is put on a stack together with the way to close it. Stopping unwinds that stack, and so does a start that fails.
"""

import os
import sys
from contextlib import AsyncExitStack
from functools import partial
from ipaddress import ip_address

from twisted.application.service import Service
from twisted.internet.defer import Deferred, TimeoutError, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.logger import Logger

from dhtwisted import __version__
from dhtwisted.config.endpoints import is_announced, is_clear, is_tls, listen
from dhtwisted.config.reloading import Reloading
from dhtwisted.errors import AuthUnavailable, ConfigurationError, StorageError
from dhtwisted.interfaces import IKeyedAuth, ILocalBus, ILossNoticing, ISelfCheck, ProviderContext
from dhtwisted.logs.audit import Audit, open_audit
from dhtwisted.logs.masking import mask
from dhtwisted.model import Node
from dhtwisted.providers.lookup import naming, open_provider
from dhtwisted.providers.opening import open_storages
from dhtwisted.service.bootstrap import bootstrap, is_discarded, password_file, print_password, write_password
from dhtwisted.service.neighbours import Neighbours
from dhtwisted.service.self_checks import SelfChecks

STOP_BOUND = 15.0
"""Seconds from the request to stop until all is closed."""

START_GRACE = 5.0
"""Seconds that a start under way gets to finish before it is given up for a stop."""

CLOSING_RESERVE = 2.0
"""Seconds of the bound that are kept for storages: what was accepted must reach the disk however slow the clients are."""

MENDABLE = (ConfigurationError, StorageError, AuthUnavailable, CannotListenError, OSError)
"""Failures that somebody can mend: one line in the log. Anything else is a defect, and its traceback is wanted."""


class DeviceHiveService(Service):
    """One server.

    :param reactor: the reactor to run in.
    :param settings: a :class:`~dhtwisted.config.settings.Settings`.
    :param foreground: somebody sees standard output; otherwise a new password goes to a file.
    :param process: a :class:`~dhtwisted.service.process.Process`; ``None`` leaves signals, exit status and collector alone.
    :param read_settings: reads the configuration again for :meth:`reload`; ``None`` for one that cannot change.
    :param process_log: a :class:`~dhtwisted.logs.observer.ProcessLog`; ``None`` leaves the log to others.
    :param accepts_loss: start also where something that was acknowledged is missing in the data.
    :ivar reloading: a :class:`~dhtwisted.config.reloading.Reloading`; what is to be reloaded puts itself there.
    :ivar addresses: ``(host, port)`` of each endpoint once it listens; a Unix socket has its path and ``None``.
    :ivar monitor_addresses: the same for the endpoints of health and metrics.
    :ivar started: a Deferred; fires with true when the server listens, with false when it cannot and all is closed again.
    """

    log = Logger()

    def __init__(self, reactor, settings, foreground=True, process=None, read_settings=None, process_log=None, accepts_loss=False):
        self.addresses = []
        self.started = None
        self._reactor = reactor
        self._settings = settings
        self.reloading = Reloading(read_settings or (lambda: settings), settings)
        self._foreground = foreground
        self._process = process
        self._process_log = process_log
        self._accepts_loss = accepts_loss
        self._audit = Audit()
        self._self_checks = SelfChecks(reactor)
        self._opened = AsyncExitStack()
        self._deadline = None
        self._monitor = None
        self._factory = None
        self._durability = None, None
        self._started_at = reactor.seconds()
        self.monitor_addresses = []

    def setServiceParent(self, parent):
        """Become a part of an application; then the log is as the configuration says."""
        if self._process_log is not None:
            try:
                self._process_log.install(parent)
            except ConfigurationError as error:
                # There is no log yet that could tell it.
                raise SystemExit(f"devicehive: {error}") from error
        super().setServiceParent(parent)

    def startService(self):
        """Begin to start; :attr:`started` tells the end of it."""
        super().startService()
        if self._process is not None:
            self._process.starting(self._settings.limits.connections, self.reload)
        self.started = Deferred.fromCoroutine(self._start_or_give_up())

    def stopService(self):
        """Stop accepting, let clients and requests finish, close what was opened.

        :returns: a Deferred; it fires within :data:`STOP_BOUND` seconds.
        """
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _start_or_give_up(self):
        try:
            await self._start()
        except Exception as error:
            if self.running:
                self._report(error)
            await self._close_all()
            if self.running and self._process is not None:
                self._process.failed()
            return False
        if self._process is not None:
            self._process.started(self._status())
        return True

    def reload(self):
        """Read the configuration again, and take on what can be taken on. The log says what came of it.

        :returns: one line that says how the server is.
        """
        if not self.running or self.started is None or not self.started.called:
            self.log.warn("Not reloaded: the server has not started yet, or is about to stop")
            return "Starting or stopping"
        is_good = self.reloading.reload()
        self._reopen_logs()
        self._audit.reloaded(is_good, self.reloading.changed)
        return self._status() if is_good else f"{self._status()}; the configuration has a mistake, see the log"

    def _reopen_logs(self):
        """Go on in new files, where logrotate has moved the old ones."""
        for log in filter(None, (self._process_log, self._audit)):
            try:
                log.reopen()
            except OSError as error:
                self.log.error("A file of the log cannot be opened again, the old one goes on: {error}", error=str(error))

    def _status(self):
        return "Listening on " + ", ".join(self._places())

    def _places(self):
        return [_place(host, port) for host, port in self.addresses]

    async def _stop(self):
        self._deadline = self._reactor.seconds() + STOP_BOUND
        self.log.info("Stopping")
        if self._process is not None:
            self._process.stopping()
        if self._monitor is not None:
            self._monitor.is_listening = False
        if self.started is not None:
            await self.started.addTimeout(START_GRACE, self._reactor)
        await self._close_all()
        self.log.info("Stopped")
        if self._process is not None:
            self._process.stopped()

    async def _start(self):
        reactor, settings = self._reactor, self._settings
        self._start_logs()
        self.log.info("dhtwisted {version} starts", version=__version__)
        await self._start_monitor()
        self._start_self_checks()
        storage, messages = await open_storages(reactor, settings, self._at_stop, self._accepts_loss)
        self._tell_losses({"storage": storage, "messages": messages})
        self._watch("storage", storage)
        if messages is not storage:
            self._watch("messages", messages)
        self._durability = storage.durability, messages.durability
        self._monitor.watch_storages(storage, messages)
        context = ProviderContext(reactor, settings, storage, messages)
        auth = open_provider("auth", settings.auth.provider, context)
        self._at_stop("auth provider", auth.close)
        self._watch("auth provider", auth)
        announce = self._way_to_tell(storage.state_directory)
        self._tell_data(storage, messages)
        await bootstrap(storage, auth, settings, announce)
        self._start_retention(messages)
        server, factory = await self._start_server(context, auth)
        self._start_control(server, storage)
        certificates = self._load_certificates()
        for description in settings.server.listen:
            await self._listen(description, self._wrapped(factory, description, certificates))
        self._let_reload(server.reloadable)
        self._let_reload(factory.reloadable)
        self._audit.started(version=__version__, process=os.getpid(), addresses=self._places())
        self._monitor.is_listening = self.running

    def _tell_losses(self, storages):
        """Say what the start did without."""
        if not self._accepts_loss:
            return
        self.log.warn("Started with --accept-loss: leave that out next time, or a loss goes on without a question")
        for part, storage in storages.items():
            if ILossNoticing.providedBy(storage) and (part == "storage" or storage is not storages["storage"]):
                for loss in storage.losses:
                    self.log.warn("{part}: the data {loss}", part=part, loss=loss)
                    self._audit.lost_data(part, loss)

    def _start_logs(self):
        """The audit log is the last to be closed, so that it has all that happens while stopping."""
        if self._process_log is not None:
            self._let_reload(self._process_log.reloadable)
            self._at_stop("log", self._process_log.finish)
        self._audit = open_audit(self._settings.log.audit_file)
        self._at_stop("audit log", self._audit.close)

    def _start_self_checks(self):
        if self._process_log is not None:
            self._self_checks.add("log", self._process_log.problem)
        self._self_checks.add("audit log", self._audit.problem)
        self._self_checks.start()
        self._at_stop("self-checks", self._self_checks.stop)

    def _watch(self, part, provided):
        """Have a part asked how it is, if it can tell."""
        if ISelfCheck.providedBy(provided):
            self._self_checks.add(part, provided.problem)

    async def _start_monitor(self):
        """The first to be opened and the last to be closed, so that it tells of a start and of a stop."""
        from dhtwisted.monitoring.pages import Monitor

        self._monitor = Monitor(self._reactor)
        site = self._monitor.site()
        for description in self._settings.metrics.listen:
            for port in await listen(self._reactor, description, site, "metrics.listen"):
                self._at_stop("monitor", port.stopListening)
                self._tell_monitor(description, port.getHost())

    def _tell_monitor(self, description, address):
        self.monitor_addresses.append((address.host, address.port) if hasattr(address, "port") else (os.fsdecode(address.name), None))
        self.log.info("Health and metrics at {endpoint}", endpoint=description)
        if hasattr(address, "port") and not ip_address(address.host).is_loopback:
            self.log.warn("Health and metrics at {endpoint} are open to whoever reaches it, without login", endpoint=description)

    def _way_to_tell(self, directory):
        """How somebody gets to see the first password."""
        if self._foreground and (directory is None or not is_discarded(sys.__stdout__)):
            return partial(print_password, self._settings.log.format)
        return partial(write_password, directory)

    def _start_retention(self, messages):
        from dhtwisted.service.retention import Retention

        if self._settings.storage.retention:
            retention = Retention(self._reactor, messages, int(self._settings.storage.retention * 1000))
            retention.start()
            self._at_stop("retention", retention.stop)

    async def _start_server(self, context, auth):
        # Autobahn takes half a second to import: those who only check a configuration do not wait for it.
        from dhtwisted.core.server import Server
        from dhtwisted.transports.port import PortFactory

        bus = open_provider("bus", self._settings.bus.provider, context)
        self._watch("bus", bus)
        server = Server(self._reactor, self._settings, context.storage, context.messages, bus, auth, self._audit)
        self._at_stop("requests", server.stop, reserve=CLOSING_RESERVE)
        with naming("bus", self._settings.bus.provider):
            await server.start()
        await self._meet_neighbours(context, auth, bus)
        factory = PortFactory(server)
        self._monitor.watch_bus(bus)
        self._monitor.watch_server(server, factory)
        self._factory = factory
        self._at_stop("connections", factory.close_connections, reserve=2 * CLOSING_RESERVE)
        return server, factory

    async def _meet_neighbours(self, context, auth, bus):
        """Find the other servers on the storages, if there can be any."""
        key = auth.key_fingerprint() if IKeyedAuth.providedBy(auth) else 0
        node = Node(key=key, has_bus=not ILocalBus.providedBy(bus))
        neighbours = Neighbours(self._reactor, node, {context.storage, context.messages})
        self._at_stop("neighbours", neighbours.stop)
        self._monitor.watch_neighbours(neighbours)
        await neighbours.start()

    def _start_control(self, server, storage):
        """Take commands of the shell. Without a socket that was asked for the server does not start; one that it makes of its own accord
        is a convenience, and no reason not to serve clients.
        """
        from dhtwisted.control.place import socket_path
        from dhtwisted.control.server import ControlServer

        path = socket_path(self._settings, storage.state_directory)
        if path is None:
            return
        control = ControlServer(self._reactor, path, server, storage, self.state, self._audit)
        try:
            control.start()
        except ConfigurationError as error:
            if self._settings.server.control_socket:
                raise
            self.log.warn("Commands of the shell find no way to the server: {reason}", reason=str(error))
            return
        self._at_stop("control socket", control.stop, reserve=2 * CLOSING_RESERVE)

    async def state(self):
        """How the server is, for ``devicehive status`` and the doctor: an object of JSON."""
        from dhtwisted.control.status import shown

        storage, messages = self._durability
        parts = await self._monitor.readiness()
        return {
            "version": __version__,
            "process": os.getpid(),
            "seconds": round(self._reactor.seconds() - self._started_at, 3),
            "addresses": self._places(),
            "monitorAddresses": [_place(*address) for address in self.monitor_addresses],
            "ready": all(state == "up" for state in parts.values()),
            "parts": parts,
            "problems": self._monitor.problems(),
            "durability": {"storage": storage, "messages": messages},
            "connections": self._factory.open_connections,
            "settings": shown(self.reloading.settings),
        }

    def _load_certificates(self):
        """The certificates of ``tls:`` endpoints; ``None`` when there is no such endpoint."""
        if not any(map(is_tls, self._settings.server.listen)):
            return None
        from dhtwisted.service.tls import Certificates

        certificates = Certificates(self._settings.tls)
        self._self_checks.add("certificates", certificates.look)
        self._let_reload(certificates.reloadable)
        return certificates

    @staticmethod
    def _wrapped(factory, description, certificates):
        """What an endpoint's connections pass before the server: the PROXY protocol, then TLS."""
        from dhtwisted.transports.proxy_protocol import AnnouncedFactory

        if is_tls(description):
            factory = certificates.wrap(factory)
        return AnnouncedFactory(factory) if is_announced(description) else factory

    async def _listen(self, description, factory):
        for port in await listen(self._reactor, description, factory):
            self._at_stop("port", port.stopListening)
            self._tell_place(description, port.getHost())

    def _tell_place(self, description, address):
        if not hasattr(address, "port"):
            path = os.fsdecode(address.name)
            self.addresses.append((path, None))
            self.log.info("Listening on {path}", path=path)
            return
        self.addresses.append((address.host, address.port))
        place = _place(address.host, address.port)
        if is_announced(description):
            self.log.info("Listening on {place} ({endpoint})", place=place, endpoint=description)
        else:
            rest, websocket = self._links(description, address)
            self.log.info("Listening on {place}: {rest} and {websocket}", place=place, rest=rest, websocket=websocket, endpoint=description)
        if is_clear(description) and not ip_address(address.host).is_loopback:
            self.log.warn("Port {port} takes passwords and tokens in clear; use a tls: endpoint or a proxy with TLS", port=address.port)

    def _links(self, description, address):
        """Where clients on this machine find the server, by REST and by WebSocket."""
        host = "localhost" if ip_address(address.host).is_unspecified else address.host
        secure, prefix = "" if is_clear(description) else "s", self._settings.server.prefixes[0].rstrip("/")
        place = f"{_place(host, address.port)}{prefix}"
        return f"http{secure}://{place}/rest", f"ws{secure}://{place}/websocket"

    def _tell_data(self, storage, messages):
        """Say where the data are, for whoever sees the first lines alone."""
        for opened, specification in {messages: self._settings.storage.messages, storage: self._settings.storage.provider}.items():
            directory = getattr(opened, "state_directory", None)
            place = mask(specification) if directory is None else f"{mask(specification)} in {os.path.abspath(directory)}"
            if opened.durability == "volatile":
                self.log.info("Data: {place}, gone when the server stops", place=place)
            else:
                self.log.info("Data: {place}", place=place)
        path = password_file(storage.state_directory)
        if path is not None:
            self.log.warn("The first password is still in {path}; read it, then delete the file", path=str(path))

    def _report(self, error):
        if isinstance(error, MENDABLE):
            self.log.critical("Cannot start: {reason}", reason=" ".join(str(error).split()))
        else:
            self.log.failure("Cannot start, by a defect")

    def _let_reload(self, reloadable):
        self.reloading.reloadables.append(reloadable)
        self._at_stop("reloading", partial(self.reloading.reloadables.remove, reloadable))

    def _at_stop(self, what, close, reserve=0.0):
        """Have something closed, after all that is opened later. ``reserve`` is what it must leave of the bound, in seconds."""
        self._opened.push_async_callback(self._close, what, close, reserve)

    async def _close_all(self):
        if self._deadline is None:
            self._deadline = self._reactor.seconds() + STOP_BOUND
        await self._opened.aclose()

    async def _close(self, what, close, reserve):
        remaining = max(self._deadline - reserve - self._reactor.seconds(), CLOSING_RESERVE / 4)
        try:
            await maybeDeferred(close).addTimeout(remaining, self._reactor)
        except TimeoutError:
            self.log.warn("Stopping: gave up waiting for {what}", what=what)
        except Exception:
            # The others must be closed all the same.
            self.log.failure("Stopping: {what} could not be closed", what=what)


def _place(host, port):
    """An address as one writes it: IPv6 in brackets, a Unix socket by its path."""
    return host if port is None else f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

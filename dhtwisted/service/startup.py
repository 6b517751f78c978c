"""The ordered start of a server: opens each part, together with the way to close it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger

from dhtwisted import __version__
from dhtwisted.config.endpoints import is_tls
from dhtwisted.config.reloading import Reloading
from dhtwisted.config.settings import Settings
from dhtwisted.errors import ConfigurationError
from dhtwisted.interfaces import IAuthProvider, IKeyedAuth, ILocalBus, IMessageBus, ISelfCheck, IStorage, ProviderContext
from dhtwisted.kit.speedups import IN_USE
from dhtwisted.logs.audit import Audit, open_audit
from dhtwisted.logs.observer import ProcessLog
from dhtwisted.model import Node
from dhtwisted.providers.lookup import naming, open_provider
from dhtwisted.providers.opening import open_storages
from dhtwisted.service.bootstrap import bootstrap, is_discarded, print_password, write_password
from dhtwisted.service.closing import STORAGE_RESERVE, ClosingStack
from dhtwisted.service.listening import Listeners, show_address
from dhtwisted.service.neighbours import Neighbours
from dhtwisted.service.self_checks import SelfChecks
from dhtwisted.service.start_notices import log_data, log_losses

if TYPE_CHECKING:
    from dhtwisted.core.server import Server
    from dhtwisted.fronts.mqtt.broker import MqttBroker
    from dhtwisted.monitoring.pages import Monitor
    from dhtwisted.service.mqtt import Mqtt
    from dhtwisted.service.tls import Certificates
    from dhtwisted.transports.port import PortFactory

CONNECTIONS_RESERVE = 2 * STORAGE_RESERVE
"""Seconds of the time for a stop that clients must leave for running requests and for the storages."""


class Startup:
    """Starts one server.

    :param reactor: the reactor to run in.
    :param closing: gets each part that is opened.
    :param reloading: gets what can apply a changed configuration.
    :param process_log: the log of the process; ``None`` if the log belongs to others.
    :param foreground: whether somebody sees standard output; otherwise a new password goes to a file.
    :param accepts_loss: start even if acknowledged data are missing.
    :ivar audit: the audit log; it has no file before the start opens it.
    :ivar listeners: the endpoints.
    :ivar monitor: health and metrics; ``None`` before the start has opened them.
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        closing: ClosingStack,
        reloading: Reloading,
        process_log: ProcessLog | None,
        foreground: bool,
        accepts_loss: bool,
    ) -> None:
        self.audit = Audit()
        self.listeners = Listeners(reactor, settings, closing)
        self.monitor: Monitor | None = None
        self._reactor = reactor
        self._settings = settings
        self._closing = closing
        self._reloading = reloading
        self._process_log = process_log
        self._foreground = foreground
        self._accepts_loss = accepts_loss
        self._self_checks = SelfChecks(reactor)
        self._began_at: float = reactor.seconds()
        self._durability: dict[str, str] = {}
        self._factory: PortFactory | None = None
        self._mqtt: Mqtt | None = None

    async def run(self) -> None:
        """Open all parts, and listen.

        :raises Exception: a part cannot be opened; those before it are open.
        """
        self._open_logs()
        self.log.info("dhtwisted {version} starts ({speedups})", version=__version__, speedups=IN_USE)
        monitor = await self._open_monitor()
        self._start_self_checks()
        storage, messages = await self._open_storages(monitor)
        context = ProviderContext(self._reactor, self._settings, storage, messages)
        auth = self._open_auth(context)
        show_password = self._way_to_show_password(storage.state_directory)
        log_data(self._settings.storage, storage, messages)
        await bootstrap(storage, auth, self._settings, show_password)
        self._start_retention(messages)
        server, factory = await self._start_server(context, auth, monitor)
        self._start_control(server, storage)
        certificates = self._load_certificates()
        await self.listeners.open(factory, certificates)
        self._let_reload(server.reloadable)
        self._let_reload(factory.reloadable)
        if self._mqtt is not None and factory.mqtt is not None:
            await self.listeners.open_mqtt(factory.mqtt, certificates)
            self._let_reload(self._mqtt.reloadable)
        self.audit.started(version=__version__, process=os.getpid(), addresses=self.listeners.shown + self.listeners.shown_mqtt)

    async def state(self) -> dict[str, Any]:
        """The state of the started server for ``devicehive status`` and the doctor, as JSON values."""
        from dhtwisted.control.status import masked_settings

        assert self.monitor is not None and self._factory is not None
        parts = await self.monitor.readiness()
        return {
            "version": __version__,
            "process": os.getpid(),
            "seconds": round(self._reactor.seconds() - self._began_at, 3),
            "addresses": self.listeners.shown,
            "mqttAddresses": self.listeners.shown_mqtt,
            "monitorAddresses": [show_address(address) for address in self.listeners.monitor_addresses],
            "ready": all(state == "up" for state in parts.values()),
            "parts": parts,
            "problems": self.monitor.problems(),
            "durability": self._durability,
            "connections": self._factory.open_connections,
            "settings": masked_settings(self._reloading.settings),
        }

    def _open_logs(self) -> None:
        """Open the logs first: they are closed last, and so have everything that happens during the stop."""
        if self._process_log is not None:
            self._let_reload(self._process_log.reloadable)
            self._closing.add("log", self._process_log.finish)
        self.audit = open_audit(self._settings.log.audit_file)
        self._closing.add("audit log", self.audit.close)

    async def _open_monitor(self) -> Monitor:
        """Open health and metrics before the data, so that they show the start and the stop too."""
        from dhtwisted.monitoring.pages import Monitor

        self.monitor = Monitor(self._reactor)
        await self.listeners.open_monitor(self.monitor.site())
        return self.monitor

    def _start_self_checks(self) -> None:
        if self._process_log is not None:
            self._self_checks.add("log", self._process_log.problem)
        self._self_checks.add("audit log", self.audit.problem)
        self._self_checks.start()
        self._closing.add("self-checks", self._self_checks.stop)

    def _check_regularly(self, part: str, provider: object) -> None:
        """Add a provider to the self-checks, if it has one."""
        if ISelfCheck.providedBy(provider):
            self._self_checks.add(part, provider.problem)

    async def _open_storages(self, monitor: Monitor) -> tuple[IStorage, IStorage]:
        """Open the storages of entities and of messages, which may be the same object."""
        storage, messages = await open_storages(self._reactor, self._settings, self._closing.add, self._accepts_loss)
        storages = {"storage": storage} if messages is storage else {"storage": storage, "messages": messages}
        if self._accepts_loss:
            log_losses(storages, self.audit)
        for role, each in storages.items():
            self._check_regularly(role, each)
        self._durability = {"storage": storage.durability, "messages": messages.durability}
        monitor.watch_storages(storage, messages)
        return storage, messages

    def _open_auth(self, context: ProviderContext) -> IAuthProvider:
        auth = open_provider("auth", self._settings.auth.provider, context)
        self._closing.add("auth provider", auth.close)
        self._check_regularly("auth provider", auth)
        return auth

    def _way_to_show_password(self, directory: str | None) -> Callable[[str, str], None]:
        """Choose how the operator gets the first password."""
        if self._foreground and (directory is None or not is_discarded(sys.__stdout__)):
            return partial(print_password, self._settings.log.format)
        return partial(write_password, directory)

    def _start_retention(self, messages: IStorage) -> None:
        from dhtwisted.service.retention import Retention

        if self._settings.storage.retention:
            retention = Retention(self._reactor, messages, int(self._settings.storage.retention * 1000))
            retention.start()
            self._closing.add("retention", retention.stop)

    async def _start_server(self, context: ProviderContext, auth: IAuthProvider, monitor: Monitor) -> tuple[Server, PortFactory]:
        # These import Autobahn, which takes half a second: a program that only checks a configuration does not wait for it.
        from dhtwisted.core.server import Server
        from dhtwisted.transports.port import PortFactory

        bus = open_provider("bus", self._settings.bus.provider, context)
        self._check_regularly("bus", bus)
        server = Server(self._reactor, self._settings, context.storage, context.messages, bus, auth, self.audit)
        self._closing.add("requests", server.stop, reserve=STORAGE_RESERVE)
        with naming("bus", self._settings.bus.provider):
            await server.start()
        await self._find_neighbours(context, auth, bus, monitor)
        self._factory = factory = PortFactory(server, await self._start_mqtt(server, context.storage))
        monitor.watch_bus(bus)
        monitor.watch_server(server, factory)
        self._closing.add("connections", factory.close_connections, reserve=CONNECTIONS_RESERVE)
        return server, factory

    async def _start_mqtt(self, server: Server, storage: IStorage) -> MqttBroker | None:
        """Make the front of MQTT; ``None`` if there is no MQTT."""
        if not self._settings.mqtt.is_on:
            return None
        from dhtwisted.service.mqtt import Mqtt

        mqtt = Mqtt(server, storage)
        await mqtt.start()
        self._closing.add("MQTT", mqtt.stop, reserve=STORAGE_RESERVE)
        self._mqtt = mqtt
        return mqtt.broker

    async def _find_neighbours(self, context: ProviderContext, auth: IAuthProvider, bus: IMessageBus, monitor: Monitor) -> None:
        """Find the other servers on the storages, if there can be any."""
        key = auth.key_fingerprint() if IKeyedAuth.providedBy(auth) else 0
        node = Node(key=key, has_bus=not ILocalBus.providedBy(bus))
        neighbours = Neighbours(self._reactor, node, {context.storage, context.messages})
        self._closing.add("neighbours", neighbours.stop)
        monitor.watch_neighbours(neighbours)
        await neighbours.start()

    def _start_control(self, server: Server, storage: IStorage) -> None:
        """Open the control socket for commands of the shell.

        If it cannot be opened, the start fails only when ``server.control_socket`` is set. The socket beside the data is a convenience,
        and clients are served without it.
        """
        from dhtwisted.control.server import ControlServer
        from dhtwisted.control.socket_file import socket_path

        path = socket_path(self._settings, storage.state_directory)
        if path is None:
            return
        control = ControlServer(self._reactor, path, server, storage, self.state, self.audit)
        try:
            control.start()
        except ConfigurationError as error:
            if self._settings.server.control_socket:
                raise
            self.log.warn("The server takes no commands of the shell: {reason}", reason=str(error))
            return
        self._closing.add("control socket", control.stop, reserve=CONNECTIONS_RESERVE)

    def _load_certificates(self) -> Certificates | None:
        """Read the certificates of ``tls:`` endpoints; ``None`` if there is no such endpoint."""
        if not any(map(is_tls, (*self._settings.server.listen, *self._settings.mqtt.listen))):
            return None
        from dhtwisted.service.tls import Certificates

        certificates = Certificates(self._settings.tls)
        self._self_checks.add("certificates", certificates.reload_if_changed)
        self._let_reload(certificates.reloadable)
        return certificates

    def _let_reload(self, reloadable: Callable[[Settings], Callable[[], None]]) -> None:
        self._reloading.reloadables.append(reloadable)
        self._closing.add("reloading", partial(self._reloading.reloadables.remove, reloadable))

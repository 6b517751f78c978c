"""Health and metrics over HTTP, on separate endpoints: they are for operators, not for clients."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger
from twisted.web.pages import notFound
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from dhtwisted.interfaces import IMeasuredStorage, IObservedBus, ISelfCheck
from dhtwisted.model import Command, User
from dhtwisted.monitoring.metrics import build_info, render_bus, render_server, render_storages
from dhtwisted.monitoring.prometheus import family
from dhtwisted.monitoring.site import MonitorSite

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime
    from twisted.python.failure import Failure
    from twisted.web.http import Request

    from dhtwisted.core.server import Server
    from dhtwisted.kit.statistics import StorageStatistics
    from dhtwisted.transports.port import PortFactory

PROBE_SECONDS = 2.0
"""Seconds in which the storage must answer a health check."""

PROBE_INTERVAL = 1.0
"""Seconds for which an answer of the storage is reused, so that many requests do not ask it more often."""

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"


Answer = tuple[int, bytes, bytes]
"""Status, content type and body."""


class Probe:
    """Checks whether a storage answers. A storage that hangs is not asked again until it has answered.

    :param ask: asks the storage.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, ask: Callable[[], Awaitable[object]]) -> None:
        self._clock = clock
        self._ask = ask
        self._asked_at: float | None = None
        self._is_under_way = False
        self._is_up = False
        self._waiting: list[Deferred[bool]] = []

    def check(self) -> Deferred[bool]:
        """A Deferred that fires with true or false within :data:`PROBE_SECONDS`."""
        now = self._clock.seconds()
        if not self._is_under_way:
            if self._asked_at is not None and 0 <= now - self._asked_at < PROBE_INTERVAL:
                return succeed(self._is_up)
            self._asked_at, self._is_under_way = now, True
            Deferred.fromCoroutine(self._run())
        if not self._is_under_way:
            return succeed(self._is_up)
        left = (now if self._asked_at is None else self._asked_at) + PROBE_SECONDS - now
        if left <= 0:
            return succeed(False)
        waiting: Deferred[bool] = Deferred()
        self._waiting.append(waiting)
        waiting.addTimeout(left, self._clock, onTimeoutCancel=lambda result, _: self._gave_up(waiting))
        return waiting

    def _gave_up(self, waiting: Deferred[bool]) -> bool:
        self._waiting = [other for other in self._waiting if other is not waiting]
        return False

    async def _run(self) -> None:
        try:
            await self._ask()
            is_up = True
        except Exception as error:
            # Providers may raise anything; in any case the storage did not answer.
            is_up = False
            self.log.warn("the storage did not answer a check of health: {error}", error=" ".join(str(error).split()))
        self._is_up, self._is_under_way = is_up, False
        waiting, self._waiting = self._waiting, []
        for deferred in waiting:
            deferred.callback(is_up)


class Monitor:
    """Health and metrics of one server. It exists before the server and after it.

    :ivar is_listening: whether clients are served; false during start and stop.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self.is_listening = False
        self._clock = clock
        self._probes: dict[str, Probe] = {}
        self._measured: dict[str, StorageStatistics] = {}
        self._checking: dict[str, ISelfCheck] = {}
        self._server: Server | None = None
        self._factory: Any = None
        self._bus: IObservedBus | None = None
        self._neighbours: Any = None

    def watch_storages(self, storage: Any, messages: Any) -> None:
        """Check these storages from now on."""
        self._probes["storage"] = Probe(self._clock, lambda: storage.get(User, 1))
        if messages is not storage:
            self._probes["messages"] = Probe(self._clock, lambda: messages.get_message(Command, "health", 1))
        storages = {"storage": storage} if messages is storage else {"storage": storage, "messages": messages}
        self._measured = {name: each.statistics for name, each in storages.items() if IMeasuredStorage.providedBy(each)}
        self._checking = {name: each for name, each in storages.items() if ISelfCheck.providedBy(each)}

    def watch_bus(self, bus: Any) -> None:
        """Show the state of a bus from now on, if the bus provides it."""
        self._bus = bus if IObservedBus.providedBy(bus) else None

    def watch_neighbours(self, neighbours: Any) -> None:
        """Show the state of other servers from now on, if there can be others."""
        self._neighbours = neighbours if neighbours.are_possible else None

    def watch_server(self, server: Server, factory: PortFactory) -> None:
        """Show the metrics of the server and its port from now on."""
        self._server, self._factory = server, factory

    def problems(self) -> dict[str, str]:
        """Part -> its problem: a storage, or settings of several servers that conflict. Parts without a problem are left out."""
        problems = {name: _problem_of(storage) for name, storage in self._checking.items()}
        if self._neighbours is not None:
            problems["nodes"] = self._neighbours.problem
        return {name: problem for name, problem in problems.items() if problem}

    async def readiness(self) -> dict[str, str]:
        """Part -> ``up`` or ``down``."""
        problems = self.problems()
        checks = {name: probe.check() for name, probe in self._probes.items()}
        parts = {"storage": "down"}
        for name, check in checks.items():
            parts[name] = "up" if await check and name not in problems else "down"
        if self._bus is not None:
            parts["bus"] = "up" if self._bus.up else "down"
        if self._neighbours is not None:
            parts["nodes"] = "up" if self._neighbours.may_serve else "down"
        return parts | {"listening": "up" if self.is_listening else "down"}

    def render(self) -> Any:
        """All metrics as text."""
        text = family("dhtwisted_listening", "gauge", "1 while clients are served.", [({}, int(self.is_listening))])
        text += build_info() + _process() + render_storages(self._measured)
        if self._bus is not None:
            text += render_bus(self._bus)
        return text if self._server is None else text + render_server(self._server, self._factory)

    def site(self) -> MonitorSite:
        """The factory for an endpoint, with all pages."""
        root, health = _Folder(), _Folder()
        root.putChild(b"health", health)
        health.putChild(b"live", _Page(self._live))
        health.putChild(b"ready", _Page(self._ready))
        root.putChild(b"metrics", _Page(self._metrics))
        return MonitorSite(root, self._clock)

    async def _live(self) -> Answer:
        return 200, CONTENT_TYPE, b"live\n"

    async def _ready(self) -> Answer:
        parts = await self.readiness()
        status = 200 if all(state == "up" for state in parts.values()) else 503
        problems = self.problems()
        return status, b"application/json", json.dumps(parts | ({"problems": problems} if problems else {})).encode()

    async def _metrics(self) -> Answer:
        return 200, CONTENT_TYPE, self.render().encode()


def _problem_of(storage: Any) -> str:
    try:
        return storage.problem()
    except Exception as error:
        # A third party's storage may raise anything.
        return f"it cannot say how it is: {type(error).__name__}"


def _process() -> str:
    """The metrics of this process; memory and descriptors only on systems with /proc."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    text = family("process_cpu_seconds_total", "counter", "User and system time in seconds.", [({}, used.ru_utime + used.ru_stime)])
    if os.path.exists("/proc/self/statm"):
        with open("/proc/self/statm") as file:
            pages = int(file.read().split()[1])
        text += family("process_resident_memory_bytes", "gauge", "Resident memory.", [({}, pages * resource.getpagesize())])
        text += family("process_open_fds", "gauge", "Open file descriptors.", [({}, len(os.listdir("/proc/self/fd")))])
    return text


class _Folder(Resource):
    """Contains pages but is not a page itself."""

    def getChild(self, path: bytes, request: Request) -> Resource:
        return self

    def render(self, request: Request) -> Any:
        return notFound(message="There are /health/live, /health/ready and /metrics.").render(request)


class _Page(Resource):
    """A page made by a coroutine function that returns status, content type and body."""

    isLeaf = True
    log = Logger()

    def __init__(self, make: Callable[[], Awaitable[Answer]]) -> None:
        super().__init__()
        self._make = make

    def render_GET(self, request: Request) -> int:
        gone: list[Failure] = []
        request.notifyFinish().addErrback(lambda failure: gone.append(failure))
        Deferred.fromCoroutine(self._answer(request, gone)).addErrback(self._failed, request, gone)
        return NOT_DONE_YET

    async def _answer(self, request: Request, gone: list[Failure]) -> None:
        status, content_type, body = await self._make()
        if not gone:
            request.setResponseCode(status)
            request.setHeader(b"content-type", content_type)
            request.setHeader(b"cache-control", b"no-store")
            request.write(b"" if request.method == b"HEAD" else body)
            request.finish()

    def _failed(self, failure: Failure, request: Request, gone: list[Failure]) -> None:
        self.log.failure("a page of the monitor failed", failure=failure)
        if not gone:
            request.setResponseCode(500)
            request.finish()

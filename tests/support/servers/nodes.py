"""Several servers on one PostgreSQL database, each of them a process."""

from pathlib import Path
from typing import Any

from tests.support.ports import free_port
from tests.support.servers.process import ServerProcess

SECRET = "a key that all nodes share, of forty bytes"


class Nodes:
    """Servers that share one database and behave as one server.

    :param directory: in it each server gets a directory of its own.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._endpoints: dict[str, str] = {}
        self._running: dict[str, ServerProcess] = {}

    def start(self, name: str, dsn: str, bus: bool = True) -> ServerProcess:
        """Start a node, or start it again at the same port.

        :param dsn: the connection string of the database, for the storage and the bus.
        """
        directory = self._directory / name
        directory.mkdir(exist_ok=True)
        endpoint = self._endpoints.setdefault(name, f"tcp:{free_port()}:interface=127.0.0.1")
        provider = f"postgres:{dsn}"
        environment: dict[str, Any] = {"DHTWISTED_AUTH_SECRET": SECRET} | ({"DHTWISTED_BUS_PROVIDER": provider} if bus else {})
        self._running[name] = ServerProcess(directory, "--storage", provider, endpoint=endpoint, **environment)
        return self._running[name]

    def log_path(self, name: str) -> Path:
        """The path of a node's log."""
        return self._directory / name / "server.log"

    def close(self) -> None:
        """Kill the nodes that still run. It fails when a node has logged a defect."""
        for server in self._running.values():
            server.kill()
        for server in self._running.values():
            _, defect, rest = server.log.partition("Traceback")
            assert not defect, rest

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
        self._mqtt_ports: dict[str, int] = {}

    def start(self, name: str, dsn: str, bus: bool = True, mqtt: bool = False) -> ServerProcess:
        """Start a node, or start it again at the same ports.

        :param dsn: the connection string of the database, for the storage and the bus.
        :param mqtt: whether it listens for MQTT too.
        """
        directory = self._directory / name
        directory.mkdir(exist_ok=True)
        endpoint = self._endpoints.setdefault(name, f"tcp:{free_port()}:interface=127.0.0.1")
        provider = f"postgres:{dsn}"
        environment: dict[str, Any] = {"DHTWISTED_AUTH_SECRET": SECRET} | ({"DHTWISTED_BUS_PROVIDER": provider} if bus else {})
        arguments = ["--storage", provider]
        if mqtt:
            arguments += ["--mqtt", f"tcp:{self.mqtt_port(name)}:interface=127.0.0.1"]
        self._running[name] = ServerProcess(directory, *arguments, endpoint=endpoint, **environment)
        return self._running[name]

    def mqtt_port(self, name: str) -> int:
        """The port of a node for MQTT."""
        return self._mqtt_ports.setdefault(name, free_port())

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

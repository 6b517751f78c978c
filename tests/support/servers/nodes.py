"""Several servers on one PostgreSQL database, each as a process."""

from tests.support.ports import free_port
from tests.support.servers.process import ServerProcess

SECRET = "a key that all nodes share, of forty bytes"


class Nodes:
    """Servers on one database; they behave as one.

    :param directory: where each gets a directory of its own.
    """

    def __init__(self, directory):
        self._directory = directory
        self._endpoints = {}
        self._running = {}

    def start(self, name, dsn, bus=True):
        """Start a node, or start it again at the same port.

        :param dsn: of the database, for the storage and the bus.
        :returns: its :class:`~tests.support.servers.process.ServerProcess`.
        """
        directory = self._directory / name
        directory.mkdir(exist_ok=True)
        endpoint = self._endpoints.setdefault(name, f"tcp:{free_port()}:interface=127.0.0.1")
        provider = f"postgres:{dsn}"
        environment = {"DHTWISTED_AUTH_SECRET": SECRET} | ({"DHTWISTED_BUS_PROVIDER": provider} if bus else {})
        self._running[name] = ServerProcess(directory, "--storage", provider, endpoint=endpoint, **environment)
        return self._running[name]

    def log_path(self, name):
        """Where a node writes what it says."""
        return self._directory / name / "server.log"

    def close(self):
        """Kill what still runs; fails when one has logged a defect."""
        for server in self._running.values():
            server.kill()
        for server in self._running.values():
            _, defect, rest = server.log.partition("Traceback")
            assert not defect, rest

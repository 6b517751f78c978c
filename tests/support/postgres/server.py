"""A PostgreSQL server for one test."""

import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any, Self

import psutil
import psycopg2
from psycopg2.extensions import make_dsn

from tests.support.ports import free_port
from tests.support.postgres.databases import DatabaseServer
from tests.support.postgres.processes import kill, remove_shared_memory, resume, suspend
from tests.support.postgres.workplace import workplace
from tests.support.waiting import PATIENCE, wait_until

SETTINGS = {
    # kill -9 of PostgreSQL needs no disk, only loss of power does.
    "fsync": "off",
    "synchronous_commit": "on",
    "shared_buffers": "16MB",
    "max_connections": "300",
    "autovacuum": "on",
    # The data may lie in memory.
    "max_wal_size": "128MB",
    "listen_addresses": "127.0.0.1",
    # Then its files lie in the data directory, not in /dev/shm, where kill -9 would leave them.
    "dynamic_shared_memory_type": "mmap",
}
"""The default settings of servers."""

_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
_ATTEMPTS = 10


class PostgresFailed(Exception):
    """A server does not start; the text is its output."""


class PostgresServer(DatabaseServer):
    """A server with a port and data of its own. :meth:`start` starts it; it ends with this process at the latest.

    :param directory: for its data. It is made if it is missing, and used as it is if it has a cluster. ``None``: a temporary directory.
    :param settings: settings that differ from :data:`SETTINGS`.
    :ivar settings: name -> value; changes take effect at the next start.
    :ivar port: its port at 127.0.0.1, the same after a restart; ``None`` before the first start.
    :ivar socket_directory: the directory of its Unix socket.
    """

    def __init__(self, directory: str | Path | None = None, **settings: Any) -> None:
        self._workplace = workplace()
        self.socket_directory = self._workplace.new_directory()
        self._data = Path(directory) if directory else self.socket_directory / "data"
        self._log_path = self.socket_directory / "log"
        self.settings = SETTINGS | settings
        self.port: int | None = None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """The connection string over TCP."""
        return make_dsn(host="127.0.0.1", port=self.port, user="postgres", password=self._workplace.password, dbname="postgres")

    @property
    def pid(self) -> int:
        """The id of its process, whose children do the work."""
        return self._started().pid

    @property
    def log(self) -> str:
        """Its output since its first start."""
        return self._log_path.read_text(errors="replace")

    @property
    def running(self) -> bool:
        """Whether it was started, and neither stopped nor killed."""
        return self._process is not None and self._process.poll() is None

    def _started(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "the server was never started"
        return self._process

    def _connect(self, database: str | None) -> Any:
        # Over the Unix socket it takes 2 ms instead of 6.
        return psycopg2.connect(self.dsn(database, host=self.socket_directory))

    def start(self) -> Self:
        """Start it and wait until it answers. That takes 0.1 s, the first time in a process 0.4 s.

        :returns: itself.
        :raises PostgresFailed: it does not start.
        """
        if not (self._data / "PG_VERSION").exists():
            self._make_data()
        fixed = self.port
        for _ in range(_ATTEMPTS):
            self.port = fixed or free_port()
            said = self._launch()
            if said is None:
                return self
            if fixed or "Address already in use" not in said:
                break
        raise PostgresFailed(said)

    def _make_data(self) -> None:
        self._data.mkdir(exist_ok=True)
        self._data.chmod(0o700)
        self._workplace.account.own(self._data)
        if not self._workplace.account.reaches(self._data.parent):
            raise PostgresFailed(f"{self._data}: an unprivileged account runs PostgreSQL and must be allowed to pass through all above it")
        self._workplace.fill(self._data)

    def _launch(self) -> str | None:
        """Start the process. Returns its output if it has ended again, ``None`` if it runs."""
        settings = self.settings | {"port": self.port, "unix_socket_directories": self.socket_directory}
        arguments = [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]
        with self._log_path.open("ab") as log:
            beginning = log.tell()
            self._process = self._workplace.spawn("postgres", "-D", self._data, *arguments, stdout=log, stderr=log)
        wait_until(lambda: not self.running or self._answers(), "PostgreSQL does not answer")
        return None if self.running else self._log_path.read_bytes()[beginning:].decode(errors="replace")

    def _answers(self) -> bool:
        try:
            self.execute("SELECT 1")
        except psycopg2.OperationalError:
            return False
        return True

    def stop(self, mode: str = "fast") -> None:
        """Stop it without a crash.

        :param mode: ``smart`` waits for all connections to end, ``fast`` ends them, ``immediate`` needs a recovery at the next start.
        """
        if self.running:
            self.resume()
            process = self._started()
            process.send_signal(_SIGNALS[mode])
            process.wait(PATIENCE)

    def kill(self) -> None:
        """Kill all its processes with ``kill -9``. The next :meth:`start` recovers all that was committed."""
        if self.running:
            process = self._started()
            kill(psutil.Process(process.pid))
            process.wait(PATIENCE)

    def restart(self) -> Self:
        """Stop it if it runs, and start it. The port stays the same."""
        self.stop()
        return self.start()

    def suspend(self) -> None:
        """Let it hang with its connections open. Only the operating system still accepts new ones."""
        suspend(psutil.Process(self._started().pid))

    def resume(self) -> None:
        """Let it go on after :meth:`suspend`."""
        resume(psutil.Process(self._started().pid))

    def close(self) -> None:
        """Kill it and remove its files, except a directory that was given."""
        self.kill()
        if self.socket_directory.exists():
            remove_shared_memory(self._data)
            shutil.rmtree(self.socket_directory)

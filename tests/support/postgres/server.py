"""A PostgreSQL server of a test's own."""

import shutil
import signal
from pathlib import Path

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
    # What is written may be in memory.
    "max_wal_size": "128MB",
    "listen_addresses": "127.0.0.1",
    # Its files are below the data then, not in /dev/shm, where kill -9 would leave them.
    "dynamic_shared_memory_type": "mmap",
}
"""How servers run, unless a test says otherwise."""

_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
_ATTEMPTS = 10


class PostgresFailed(Exception):
    """A server does not start; the text is what it said."""


class PostgresServer(DatabaseServer):
    """A server with a port and data of its own, started with :meth:`start`; it ends with this process at the latest.

    :param directory: for its data; made if it is missing, used as it is if it has a cluster. ``None``: one that is removed with the server.
    :param settings: what differs from :data:`SETTINGS`.
    :ivar settings: name -> value; changes hold from the next start on.
    :ivar port: at 127.0.0.1, the same over restarts; ``None`` before the first start.
    :ivar socket_directory: where its Unix socket is.
    """

    def __init__(self, directory=None, **settings):
        self._workplace = workplace()
        self.socket_directory = self._workplace.new_directory()
        self._data = Path(directory) if directory else self.socket_directory / "data"
        self._log_path = self.socket_directory / "log"
        self.settings = SETTINGS | settings
        self.port = None
        self._process = None

    @property
    def address(self):
        """A connection string over TCP."""
        return make_dsn(host="127.0.0.1", port=self.port, user="postgres", password=self._workplace.password, dbname="postgres")

    @property
    def log(self):
        """What it has said since its first start."""
        return self._log_path.read_text(errors="replace")

    @property
    def running(self):
        """Whether it has been started and neither stopped nor killed."""
        return self._process is not None and self._process.poll() is None

    def _connect(self, database):
        # Over the socket: 2 ms instead of 6.
        return psycopg2.connect(self.dsn(database, host=self.socket_directory))

    def start(self):
        """Start it and wait until it answers: 0.1 s, the first of a process 0.4 s.

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

    def _make_data(self):
        self._data.mkdir(exist_ok=True)
        self._data.chmod(0o700)
        self._workplace.account.own(self._data)
        if not self._workplace.account.reaches(self._data.parent):
            raise PostgresFailed(f"{self._data}: an unprivileged account runs PostgreSQL and must be allowed to pass through all above it")
        self._workplace.fill(self._data)

    def _launch(self):
        """Start the process; returns what it said if it ended again."""
        settings = self.settings | {"port": self.port, "unix_socket_directories": self.socket_directory}
        arguments = [argument for name, value in settings.items() for argument in ("-c", f"{name}={value}")]
        with self._log_path.open("ab") as log:
            beginning = log.tell()
            self._process = self._workplace.spawn("postgres", "-D", self._data, *arguments, stdout=log, stderr=log)
        wait_until(lambda: self._process.poll() is not None or self._answers(), "PostgreSQL does not answer")
        return None if self.running else self._log_path.read_bytes()[beginning:].decode(errors="replace")

    def _answers(self):
        try:
            self.execute("SELECT 1")
        except psycopg2.OperationalError:
            return False
        return True

    def stop(self, mode="fast"):
        """Stop it in order.

        :param mode: ``smart`` waits for all connections to end, ``fast`` ends them, ``immediate`` needs a recovery at the next start.
        """
        if self.running:
            self.resume()
            self._process.send_signal(_SIGNALS[mode])
            self._process.wait(PATIENCE)

    def kill(self):
        """Crash: kill -9 of all its processes at once. A :meth:`start` recovers what was committed."""
        if self.running:
            kill(psutil.Process(self._process.pid))
            self._process.wait(PATIENCE)

    def restart(self):
        """Stop it in order if it runs, and start it; the port stays the same."""
        self.stop()
        return self.start()

    def suspend(self):
        """Let it hang, with its connections open: it accepts new ones no more than the system does for it."""
        suspend(psutil.Process(self._process.pid))

    def resume(self):
        """Let it go on after :meth:`suspend`."""
        resume(psutil.Process(self._process.pid))

    def close(self):
        """End it and remove what it has left, but for a directory that was given."""
        self.kill()
        if self.socket_directory.exists():
            remove_shared_memory(self._data)
            shutil.rmtree(self.socket_directory)

"""A PostgreSQL of the benchmark's own, on its disk, with everything on that makes a commit durable."""

import os
import re
import secrets
import subprocess
from contextlib import contextmanager

from bench.figures import Failed, Lost, Missing

TABLE = "CREATE TABLE reading (id bigserial PRIMARY KEY, device_id text, at bigint, name text, parameters text)"
_INSERT = """\
INSERT INTO reading (device_id, at, name, parameters)
VALUES ('d1', 1790000000000, 'temperature', '{"t":20.5,"p":29.92,"n":1000000000}');
"""
_RATE = re.compile(r"^tps = ([\d.]+)", re.MULTILINE)


class Postgres:
    """A server, as the tests start it, but on a disk and durable.

    :param directory: for its data; other users must be able to pass through.
    :param cores: those that it may use: several processes do one commit.
    :raises Missing: this machine has none, or the packages that start it are not installed.
    """

    def __init__(self, directory, cores):
        try:
            from tests.support.postgres.binaries import NoPostgres
            from tests.support.postgres.server import PostgresFailed, PostgresServer
            from tests.support.postgres.workplace import workplace
        except ImportError as error:
            raise Missing(f"PostgreSQL needs {error.name} (pip install -e '.[bench]')") from error
        try:
            self._workplace = workplace()
            # Its segments of the log have the usual size; those of the tests are small.
            data = directory / "data"
            _initialise(self._workplace, data)
            self._server = PostgresServer(data, fsync="on", shared_buffers="128MB", max_wal_size="1GB")
            with _on(cores):
                self._server.start()
        except (NoPostgres, PostgresFailed, OSError) as error:
            raise Missing(f"no PostgreSQL starts: {error}") from error

    def close(self):
        """End it; its data stay for whoever made the directory."""
        self._server.close()

    def suspend(self):
        """Let it do nothing until :meth:`resume`."""
        self._server.suspend()

    def resume(self):
        """Let it go on."""
        self._server.resume()

    def new_database(self, name=None):
        """Create a database; returns its connection string.

        :param name: its name; ``None``: any.
        """
        return self._server.create_database(name)

    @property
    def socket(self):
        """The path of its Unix socket."""
        return self._server.socket_directory / f".s.PGSQL.{self._server.port}"

    def execute(self, statement, database):
        """Run a statement in a database; returns its rows."""
        return self._server.execute(statement, database=database)

    def must_have(self, table, count, database):
        """See that a table has so many rows.

        :raises Lost: it has more or fewer.
        """
        ((found,),) = self.execute(f"SELECT count(*) FROM {table}", database)
        if found != count:
            raise Lost(f"{count} inserts were acknowledged, {found} are stored")

    @property
    def pid(self):
        """The id of its process, whose children do the work."""
        return self._server.pid

    @property
    def version(self):
        """What it says of itself."""
        ((text,),) = self._server.execute("SHOW server_version")
        return text

    def pgbench(self, seconds, cores):
        """Let one client insert single rows, prepared, each in a transaction of its own.

        :param seconds: for how long.
        :param cores: those of the client.
        :returns: transactions per second.
        """
        name = f"pgbench_{secrets.token_hex(4)}"
        self._server.create_database(name)
        self._server.execute(TABLE, database=name)
        script = self._server.socket_directory / f"{name}.sql"
        script.write_text(_INSERT)
        script.chmod(0o644)
        arguments = ["-n", "-M", "prepared", "-c", "1", "-T", str(round(seconds)), "-f", str(script)]
        connection = ["-h", str(self._server.socket_directory), "-p", str(self._server.port), "-U", "postgres", name]
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        try:
            with _on(cores):
                process = self._workplace.spawn("pgbench", *arguments, *connection, **options)
        except FileNotFoundError as error:
            raise Missing("pgbench is not installed (apt install postgresql-contrib)") from error
        output, _ = process.communicate()
        found = _RATE.search(output)
        if process.returncode or not found:
            raise Failed(f"pgbench failed: {' '.join(output.split())[-200:]}")
        return float(found[1])


def _initialise(place, data):
    data.mkdir(mode=0o700)
    place.account.own(data)
    password_file = place.directory / "benchmark-password"
    password_file.write_text(place.password)
    place.account.own(password_file)
    access = ["--username=postgres", "--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={password_file}"]
    place.run("initdb", *access, "--no-sync", "--encoding=UTF8", "--locale=C.UTF-8", data)


@contextmanager
def _on(cores):
    """What is started in here runs on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)

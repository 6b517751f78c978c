"""The doctor as a whole, on set-ups that are broken in one way each: one finding, with the cause and the cure, and no other advice."""

import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest
import pytest_twisted

from dhtwisted.cli.doctor import machine
from dhtwisted.cli.doctor.examination import examine
from dhtwisted.cli.doctor.findings import OK
from dhtwisted.config.sources import load_configuration
from dhtwisted.model import User
from dhtwisted.providers.sqlite.storage import FileStorage
from dhtwisted.testing.storage.base import SettableReactor, notification
from tests.support.certificates import write_certificate
from tests.support.ports import free_port

pytestmark = [pytest.mark.slow, pytest.mark.lowest]

NOBODY = 65534
KEY = "k" * 40
AS_ANOTHER = """
import os, sys
from dhtwisted.config.sources import load_configuration
from dhtwisted.cli.doctor.examination import examine
look = lambda: [finding for finding in examine(lambda: load_configuration(sys.argv[1]), sys.argv[1]) if finding.level != "ok"]
look()  # Imports what the other user may have no right to read.
os.setuid(int(sys.argv[2]))
print(*look(), sep="\\n")
"""


class SetUp:
    """A server's files in a directory, which are as they should be until a test breaks something.

    :ivar options: section -> lines of the configuration file.
    """

    def __init__(self, directory, reactor, monkeypatch):
        self.directory, self.reactor, self.monkeypatch = directory, reactor, monkeypatch
        self.data = directory / "data" / "hive.sqlite"
        self.data.parent.mkdir()
        self.key = self.write("data/devicehive.secret", KEY, 0o600)
        self.environment, self.user = {}, os.geteuid()
        self.opened = []
        self.options = {
            "server": {"listen": [f"tcp:{free_port()}:interface=127.0.0.1"]},
            "storage": {"provider": f"file:{self.data}"},
            "limits": {"connections": 100},
        }

    def write(self, name, content, mode=0o644):
        """Make a file."""
        path = self.directory / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        path.chmod(mode)
        return path

    async def fill(self, count=1, now=None):
        """Have a server store something, and stop; ``now`` is what its clock shows."""
        storage = await self.serve(now)
        await storage.append([notification(f"n{number}") for number in range(count)])
        await storage.close()

    async def serve(self, now=None):
        """Have a server work on the data."""
        clock = SettableReactor(self.reactor)
        if now is not None:
            clock.time = now
        storage = FileStorage(str(self.data), clock)
        await storage.open()
        self.opened.append(storage)
        return storage

    def certificate(self, days=100, name="server.pem"):
        """Listen with a certificate; returns its file."""
        path = write_certificate(self.directory / name, days)
        self.options["server"]["listen"] = [f"tls:tcp:{free_port()}:interface=127.0.0.1"]
        self.options["tls"] = {"certificate": str(path)}
        return path

    def as_nobody(self, *paths):
        """Be asked by a user who owns nothing here but these."""
        for path in paths:
            os.chown(path, NOBODY, NOBODY)
        self.user = NOBODY

    def examine(self):
        """Level, topic and text of each finding that is not well."""
        lines = []
        for section, options in self.options.items():
            lines += [f"[{section}]", *(f"{name} = {_toml(value)}" for name, value in options.items())]
        path = self.directory / "hive.toml"
        if not path.exists():
            self.write("hive.toml", "\n".join(lines))
        if self.user != os.geteuid():
            command = [sys.executable, "-c", AS_ANOTHER, str(path), str(self.user)]
            return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout.splitlines()
        findings = examine(lambda: load_configuration(str(path), self.environment), str(path))
        return [str(finding) for finding in findings if finding.level != OK]


def _toml(value):
    return f'"{value}"' if isinstance(value, str) else str(value).replace("'", '"')


@pytest.fixture
def set_up(reactor, monkeypatch):
    # Not below pytest's own directory, into which nobody else may look.
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    made = SetUp(directory, reactor, monkeypatch)
    yield made
    for storage in made.opened:
        pytest_twisted.blockon(storage.close())
    shutil.rmtree(directory)


def missing_directory(set_up):
    set_up.options["storage"]["provider"] = "file:/none/hive.sqlite"


def directory_missing_by_the_environment(set_up):
    set_up.environment["DHTWISTED_STORAGE_PROVIDER"] = "file:/none/hive.sqlite"


def directory_of_another_user(set_up):
    set_up.as_nobody(set_up.key)


def data_of_another_program(set_up):
    with closing(sqlite3.connect(set_up.data)) as connection:
        connection.execute("CREATE TABLE cookies (id INTEGER)")


def no_database(set_up):
    set_up.data.write_bytes(b"#!/bin/sh\n" * 100)


async def damaged_file(set_up):
    await set_up.fill(500)
    with set_up.data.open("r+b") as file:
        file.seek(set_up.data.stat().st_size // 2)
        file.write(b"\xaa" * 12_000)


async def deleted_under_a_server(set_up):
    await set_up.serve()
    set_up.data.unlink()


async def deleted_log_under_a_server(set_up):
    await set_up.serve()
    Path(f"{set_up.data}-wal").unlink()


async def deleted_directory_under_a_server(set_up):
    await set_up.serve()
    shutil.rmtree(set_up.data.parent)


async def deleted_after_a_crash(set_up):
    await set_up.fill()
    set_up.data.rename(set_up.directory / "data" / "hive.sqlite-wal")


async def open_data(set_up):
    await set_up.fill()
    set_up.data.chmod(0o644)


def missing_certificate(set_up):
    set_up.certificate().unlink()


def expired_certificate(set_up):
    set_up.certificate(-1)


def key_of_another_certificate(set_up):
    set_up.certificate()
    set_up.options["tls"]["key"] = str(write_certificate(set_up.directory / "other.pem", 100))


def taken_port(set_up):
    taken = socket.create_server(("127.0.0.1", 0))
    taken.settimeout(1)
    set_up.monkeypatch.setattr(set_up, "taken", taken, raising=False)
    set_up.options["server"]["listen"] = [f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"]


def taken_mqtt_port(set_up):
    taken_port(set_up)
    set_up.options["mqtt"] = {"listen": set_up.options["server"]["listen"]}
    set_up.options["server"]["listen"] = [f"tcp:{free_port()}:interface=127.0.0.1"]


def missing_certificate_of_mqtt(set_up):
    set_up.options["mqtt"] = {"listen": [f"tls:tcp:{free_port()}:interface=127.0.0.1"]}
    set_up.options["tls"] = {"certificate": str(set_up.directory / "server.pem")}


async def rule_for_nobody(set_up):
    storage = await set_up.serve()
    await storage.insert(User(login="sensors"))
    await storage.close()
    set_up.options["mqtt"] = {"listen": [f"tcp:{free_port()}:interface=127.0.0.1"]}
    set_up.environment["DHTWISTED_MQTT_PLAIN_TOPICS"] = "true"
    set_up.environment["DHTWISTED_MQTT_ACCESS"] = '[{who = "sensor", publish = ["#"]}]'


def wrong_mapping(set_up):
    set_up.environment["DHTWISTED_MQTT_MAP"] = '[{topic = "tele/{deviceId}/{nmae}", as = "notification"}]'


def plain_topics_on_several_nodes(set_up):
    set_up.options["bus"] = {"provider": "postgres:dbname=hive"}
    set_up.options["storage"] = {"provider": "postgres:dbname=hive"}
    set_up.environment["DHTWISTED_MQTT_PLAIN_TOPICS"] = "true"


def missing_socket_directory(set_up):
    set_up.options["server"] = {"listen": ["unix:/none/hive.sock"], "trusted_proxies": ["unix"]}


def key_that_all_may_read(set_up):
    set_up.key.chmod(0o644)


def key_of_another_user(set_up):
    set_up.as_nobody(set_up.data.parent)


def weak_key(set_up):
    set_up.environment["DHTWISTED_AUTH_SECRET"] = "short"


def key_with_a_mark(set_up):
    set_up.key.write_bytes(b"\xef\xbb\xbf" + KEY.encode())


async def key_that_is_gone(set_up):
    await set_up.fill()
    set_up.key.unlink()


def password_in_the_file(set_up):
    set_up.options["auth"] = {"admin_password": "swordfish"}


async def clock_that_was_wrong(set_up):
    await set_up.fill(now=machine.time.time() + 7200)


def clock_that_was_never_set(set_up):
    set_up.monkeypatch.setattr(machine.time, "time", lambda: 60.0)


def full_disk(set_up):
    usage = shutil.disk_usage(set_up.directory)
    set_up.monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: usage._replace(free=0))
    set_up.options["log"] = {"file": f"{set_up.directory}/hive.log"}


def too_few_files(set_up):
    set_up.environment["DHTWISTED_LIMITS_CONNECTIONS"] = "2000"
    set_up.monkeypatch.setattr(machine.resource, "prlimit", lambda process, limit: (1024, 1024))


def unknown_variable(set_up):
    set_up.environment["DHTWISTED_RETENTION"] = "7d"


def misspelt_variable(set_up):
    set_up.environment["DHTWISTED_STORAGE_RETENTOIN"] = "7d"


def misspelt_option(set_up):
    set_up.options["storage"]["retentoin"] = "7d"


def configuration_in_utf_16(set_up):
    set_up.write("hive.toml", "[limits]\nconnections = 100\n".encode("utf-16"))


def log_of_another_user(set_up):
    set_up.options["log"] = {"file": str(set_up.write("hive.log", "", 0o600))}
    set_up.as_nobody(set_up.data.parent, set_up.key)


def log_without_a_directory(set_up):
    set_up.options["log"] = {"audit_file": "/none/audit.log"}


STORAGE, PLACE = "wrong    storage: ", "storage.provider in {file}: "
LOST = "was deleted, moved or replaced while the server works on it, so nothing more is stored; "
FOREIGN = "may not write there, and it belongs to {me}; run this as the server's user"
NO_DIRECTORY = "there is no directory /none; make it, or name another"
KEYS, CONFIGURATION = "wrong    signing key: ", "configuration: "
STRANGE = "is no option of the server, and is ignored; did you mean DHTWISTED_STORAGE_RETENTION?"

BROKEN = {
    missing_directory: STORAGE + PLACE + "/none/hive.sqlite: " + NO_DIRECTORY,
    directory_missing_by_the_environment: STORAGE + "DHTWISTED_STORAGE_PROVIDER: /none/hive.sqlite: " + NO_DIRECTORY,
    directory_of_another_user: STORAGE + PLACE + "{data}: user nobody " + FOREIGN,
    data_of_another_program: STORAGE + PLACE + "{data}/hive.sqlite: is the data file of another program; name another",
    no_database: STORAGE + PLACE + "{data}/hive.sqlite: is no data file of this server; name another",
    damaged_file: STORAGE + "{data}/hive.sqlite: is damaged (",
    deleted_under_a_server: STORAGE + "{data}/hive.sqlite: " + LOST + "do not stop the server before you have saved what it has",
    deleted_log_under_a_server: STORAGE + "{data}/hive.sqlite-wal: " + LOST + "stop the server (not by kill -9), which saves all",
    deleted_directory_under_a_server: STORAGE + "{data}/hive.sqlite: " + LOST + "do not stop the server",
    deleted_after_a_crash: STORAGE + PLACE + "{data}/hive.sqlite: is gone, but {data}/hive.sqlite-wal has what was stored last; restore",
    open_data: "warning  storage: {data}/hive.sqlite: others may read it, and it has hashes of passwords; run: chmod 600 {data}/h",
    missing_certificate: "wrong    tls: tls.certificate: {directory}/server.pem: cannot be read (No such file or directory)",
    expired_certificate: "wrong    tls: {directory}/server.pem: the certificate has expired; renew it",
    key_of_another_certificate: "wrong    tls: tls.key: {directory}/other.pem: is not the key of {directory}/server.pem",
    taken_port: "wrong    port: {endpoint}: another program listens there; stop it, or choose another port (ss -ltnp shows the program)",
    taken_mqtt_port: "wrong    MQTT port: {mqtt}: another program listens there; stop it, or choose another port",
    missing_certificate_of_mqtt: "wrong    tls: tls.certificate: {directory}/server.pem: cannot be read (No such file or directory)",
    rule_for_nobody: "warning  mqtt: DHTWISTED_MQTT_ACCESS: table 1 has no effect, because no user has the login sensor; did you",
    wrong_mapping: "wrong    " + CONFIGURATION + "DHTWISTED_MQTT_MAP: ",
    plain_topics_on_several_nodes: "wrong    " + CONFIGURATION + "mqtt.plain_topics: must be false where bus.provider is for several",
    missing_socket_directory: "wrong    port: unix:/none/hive.sock: " + NO_DIRECTORY,
    key_that_all_may_read: KEYS + "{key}: others may read or change the signing key; run: chmod 600 {key}",
    key_of_another_user: KEYS + "{key}: the signing key cannot be read (Permission denied); run this as the server's user",
    weak_key: KEYS + "DHTWISTED_AUTH_SECRET: the key has 5 bytes, less than 32; make one with: head -c 32 /dev/urandom | base64",
    key_with_a_mark: KEYS + "{key}: begins with a byte order mark, which would be a part of the key; save it without",
    key_that_is_gone: "warning  signing key: {key}: is gone, and the next start makes another, with which no token of now is good; ",
    password_in_the_file: "warning  configuration: {file}: everybody may read it, and auth.admin_password has a password; run: chmod o=",
    clock_that_was_wrong: "warning  clock: it shows ",
    clock_that_was_never_set: "wrong    clock: it shows 1970-01-01T00:01:00.000; set it, tokens and messages go by it",
    full_disk: STORAGE + "{data}: 0 MiB are free on the disk; make room: without it, what clients send is refused",
    too_few_files: "warning  open files: a server that is started here may have 1024 open, too few for 2000 connections; raise Lim",
    unknown_variable: "warning  " + CONFIGURATION + "DHTWISTED_RETENTION: " + STRANGE,
    misspelt_variable: "wrong    " + CONFIGURATION + "DHTWISTED_STORAGE_RETENTOIN: is no option; did you mean DHTWISTED_STORAGE_RETENTION?",
    misspelt_option: "wrong    " + CONFIGURATION + "{file}: storage.retentoin: is no option; did you mean retention?",
    configuration_in_utf_16: "wrong    " + CONFIGURATION + "{file}: is in UTF-16, which some editors call Unicode; save it as UTF-8",
    log_of_another_user: "wrong    log: log.file in {file}: {directory}/hive.log: user nobody " + FOREIGN,
    log_without_a_directory: "wrong    audit log: log.audit_file in {file}: /none/audit.log: " + NO_DIRECTORY,
}


@pytest.mark.parametrize("broken", BROKEN, ids=lambda broken: broken.__name__)
@pytest_twisted.ensureDeferred
async def test_one_cause_is_one_finding(set_up, broken):
    if broken.__name__.endswith("another_user") and os.geteuid() != 0:
        pytest.skip("only root can be another user")
    waiting = broken(set_up)
    if waiting is not None:
        await waiting
    (line,) = set_up.examine()
    (endpoint, *_) = set_up.options["server"]["listen"]
    (mqtt, *_) = set_up.options.get("mqtt", {}).get("listen", [""])
    places = {"directory": set_up.directory, "data": set_up.data.parent, "file": set_up.directory / "hive.toml", "key": set_up.key}
    assert line.startswith(BROKEN[broken].format(**places, endpoint=endpoint, mqtt=mqtt, me="user root"))
    assert "swordfish" not in line


@pytest_twisted.ensureDeferred
async def test_a_set_up_that_is_well_has_no_finding(set_up):
    await set_up.fill()
    set_up.environment["DHTWISTED_AUTH_ADMIN_PASSWORD"] = "swordfish"
    assert set_up.examine() == []

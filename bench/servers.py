"""The servers that are compared. Each is started anew for a run, in a directory of its own, and ended after it."""

import json
import os
import re
import secrets
import shutil
import socket
import sys
import time

from bench.client import Client
from bench.figures import Missing
from bench.machine import CHECKOUT, THIS, said_by
from bench.processes import Process
from tests.support.certificates import write_certificate
from tests.support.ports import free_port

_MQTT = re.compile(r"MQTT at 127\.0\.0\.1:(\d+)")
_LISTENING = re.compile(r"Listening on 127\.0\.0\.1:(\d+)")
_PASSWORD = "administrator-1"
_MOSQUITTO_PLACES = "/usr/sbin:/usr/local/sbin"
MOSQUITTO_SETTINGS = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence false
# Its defaults drop messages above 20 in flight and 1000 waiting.
max_inflight_messages 0
max_queued_messages 0
# As the others have it.
set_tcp_nodelay true
"""
MQTT_SETTINGS = """\
[mqtt]
plain_topics = true
[[mqtt.access]]
who = "role:client"
publish = ["#"]
subscribe = ["#"]
"""
MOSQUITTO_TLS_SETTINGS = """\
certfile {certificate}
keyfile {certificate}
"""


class Server(Process):
    """A server that listens.

    :ivar port: of 127.0.0.1.
    """

    port = None

    def _wait_until_answering(self):
        """For one that does not say when it listens."""

        def answers():
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except OSError:
                return False
            return True

        self.wait_for(answers)


class DeviceHive(Server):
    """This server, as ``python -m dhtwisted`` starts it, with its default settings.

    :param directory: its working directory.
    :param storage: the provider.
    :param checkout: the :class:`~bench.machine.Checkout` that is run.
    :param tls: whether it also listens with TLS, with a certificate of the usual kind (ECDSA, P-256).
    :param environment: further variables of its environment.
    :param mqtt: whether it also speaks MQTT, and is a broker of plain topics for clients.
    :ivar start_seconds: from the start of the process until it listened.
    :ivar tls_port: the port with TLS.
    :ivar mqtt_port: the port of MQTT.
    :ivar token: of a client with one network; not of the administrator, whose rights would be cheaper to check.
    """

    def __init__(self, directory, storage, cores, checkout=THIS, tls=False, environment=None, mqtt=False):
        directory.mkdir(exist_ok=True)
        command = [checkout.python, "-m", "dhtwisted", "--listen", "tcp:0:interface=127.0.0.1", "--storage", storage]
        paths = os.pathsep.join(filter(None, [str(checkout.path), os.environ.get("PYTHONPATH")]))
        kept = {name: value for name, value in os.environ.items() if not name.startswith("DHTWISTED_")}
        given = {"DHTWISTED_AUTH_ADMIN_PASSWORD": _PASSWORD, "PYTHONPATH": paths}
        if storage.startswith("postgres:"):
            # There is no directory in which the server could keep a key of its own.
            given["DHTWISTED_AUTH_SECRET"] = secrets.token_urlsafe(32)
        if tls:
            command += ["--listen", "tls:tcp:0:interface=127.0.0.1"]
            given["DHTWISTED_TLS_CERTIFICATE"] = str(write_certificate(directory / "certificate.pem"))
        if mqtt:
            (directory / "devicehive.toml").write_text(MQTT_SETTINGS)
            command += ["--config", "devicehive.toml", "--mqtt", "tcp:0:interface=127.0.0.1"]
        environment = kept | given | (environment or {})
        super().__init__(command, directory / "server.log", cores, cwd=directory, env=environment)
        ports = self.wait_for(lambda: _ports(self.log, 2 if tls else 1))
        self.start_seconds = time.monotonic() - self.started_at
        self.port, self.tls_port = ports[0], ports[-1]
        self.mqtt_port = int(self.wait_for(lambda: _MQTT.search(self.log))[1]) if mqtt else None
        self.token = ""

    def prepare(self, devices=("d1",), login="benchmark"):
        """Make a client, and devices that it may use; sets :attr:`token`.

        :param devices: their ids.
        :param login: of the client.
        :returns: the server.
        """
        with self.connect_as_administrator() as administrator:
            user_id = _user_id(administrator, login)
            payload = {"userId": user_id, "actions": ["*"], "networkIds": ["*"], "deviceTypeIds": ["*"]}
            self.token = administrator.call("token/create", payload=payload)["accessToken"]
            # The last of too many would wait longer than a request may, on a disk that is busy.
            administrator.call_many(map(_save_device, devices), batch=100)
        return self

    def connect_as_administrator(self):
        """A :class:`~bench.client.Client` that may do anything."""
        client = Client(self.port)
        token = client.call("token", login="dhadmin", password=_PASSWORD)["accessToken"]
        client.call("authenticate", token=token)
        return client

    def connect(self):
        """A :class:`~bench.client.Client` with :attr:`token`."""
        client = Client(self.port)
        client.call("authenticate", token=self.token)
        return client


def _ports(log, count):
    """The ports that a server says it listens at; ``None`` while there are fewer."""
    found = [int(port) for port in _LISTENING.findall(log)]
    return found if len(found) == count else None


def _user_id(administrator, login):
    """The id of a client, made if it is not there yet."""
    found = administrator.call("user/list", login=login)["users"]
    if found:
        return found[0]["id"]
    user = {"login": login, "password": "benchmark-1", "role": 1, "allDeviceTypesAvailable": True}
    user_id = administrator.call("user/insert", user=user)["user"]["id"]
    administrator.call("user/assignNetwork", userId=user_id, networkId=1)
    return user_id


def _save_device(device_id):
    device = {"name": device_id, "networkId": 1, "deviceTypeId": 1}
    return json.dumps({"action": "device/save", "requestId": 1, "deviceId": device_id, "device": device}).encode()


class Echo(Server):
    """Bare Autobahn: :mod:`bench.echo`.

    :param tls: whether it speaks TLS.
    """

    module = "bench.echo"

    def __init__(self, directory, cores, tls=False):
        directory.mkdir(exist_ok=True)
        self.port = free_port()
        certificate = [write_certificate(directory / "certificate.pem")] if tls else []
        super().__init__([sys.executable, "-m", self.module, self.port, *certificate], directory / "echo.log", cores, cwd=CHECKOUT)
        self._wait_until_answering()


class RawEcho(Echo):
    """Bare Twisted: :mod:`bench.raw_echo`."""

    module = "bench.raw_echo"


class Web(Server):
    """Bare twisted.web: :mod:`bench.web`.

    :param listed: the bytes that a GET gives.
    """

    def __init__(self, directory, cores, listed):
        directory.mkdir(exist_ok=True)
        self.port = free_port()
        self.token = "of nobody, but as long as that of this server" + 150 * "."
        path = directory / "list.json"
        path.write_bytes(listed)
        super().__init__([sys.executable, "-m", "bench.web", self.port, path], directory / "web.log", cores, cwd=CHECKOUT)
        self._wait_until_answering()


class Mosquitto(Server):
    """The MQTT broker of that name, without persistence, and with no limit at which it would drop messages.

    :param tls: whether it speaks TLS.
    :raises Missing: it is not installed.
    """

    def __init__(self, directory, cores, tls=False):
        program = find_mosquitto()
        directory.mkdir(exist_ok=True)
        self.port = free_port()
        settings = directory / "mosquitto.conf"
        # As root it would become another user, and forget to end with the benchmark.
        user = "user root\n" if os.geteuid() == 0 else ""
        text = user + MOSQUITTO_SETTINGS.format(port=self.port)
        if tls:
            text += MOSQUITTO_TLS_SETTINGS.format(certificate=write_certificate(directory / "certificate.pem"))
        settings.write_text(text)
        super().__init__([program, "-c", settings], directory / "mosquitto.log", cores)
        self._wait_until_answering()


def find_mosquitto():
    """The path of the program.

    :raises Missing: there is none.
    """
    found = shutil.which("mosquitto") or shutil.which("mosquitto", path=_MOSQUITTO_PLACES)
    if not found:
        raise Missing("Mosquitto is not installed (apt install mosquitto)")
    return found


def mosquitto_version():
    """What it says of itself; empty without it."""
    try:
        return said_by(find_mosquitto(), "-h").removeprefix("mosquitto version ")
    except Missing:
        return ""

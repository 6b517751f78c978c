"""A server with MQTT as a process, and paho's client for tests that wait for what comes."""

from __future__ import annotations

import re
from pathlib import Path
from queue import Queue
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.support.ports import free_port
from tests.support.servers.process import PASSWORD, ServerProcess
from tests.support.waiting import PATIENCE, wait_until

LOGIN = "dhadmin"
_LISTENING = re.compile(r"MQTT at 127\.0\.0\.1:(\d+)")
CONFIGURATION = """
[mqtt]
plain_topics = true
[[mqtt.access]]
who = "*"
publish = ["#"]
subscribe = ["#"]
"""
"""Everybody who logs in may use all plain topics."""


def mqtt_arguments(directory: Path, endpoint: str = "tcp:0:interface=127.0.0.1", more: str = "") -> list[str]:
    """The command line of a server with MQTT, whose configuration is written into its directory.

    :param more: further lines of the configuration.
    """
    (directory / "mqtt.toml").write_text(CONFIGURATION + more)
    return ["--config", "mqtt.toml", "--mqtt", endpoint]


def mqtt_port(server: ServerProcess) -> int:
    """The port on which a server listens for MQTT."""
    wait_until(lambda: _LISTENING.search(server.log), "the server does not listen for MQTT")
    found = _LISTENING.search(server.log)
    assert found is not None  # It was there before.
    return int(found[1])


class Restarting:
    """A server that is killed and started again, at one port for MQTT. A context manager; at its end the server has logged no defect."""

    def __init__(self, directory: Path, storage: str) -> None:
        self.port = free_port()
        arguments = mqtt_arguments(directory, f"tcp:{self.port}:interface=127.0.0.1")
        self._start = lambda: ServerProcess(directory, "--storage", storage, *arguments, DHTWISTED_AUTH_SECRET="s" * 40)
        self.server = self._start()

    def __enter__(self) -> Restarting:
        return self

    def __exit__(self, *error: object) -> None:
        self.server.kill()
        if error[0] is None:
            assert "Traceback" not in self.server.log_path.read_text()

    def restart(self) -> None:
        """Kill it and start it again."""
        self.server.kill()
        self.server = self._start()


class PahoClient:
    """A client that keeps what it gets. It is a context manager; at its end the connection is closed.

    :param protocol: one of paho's names for the versions.
    :param transport: one of paho's names for them.
    :param clean: whether the session begins anew, and in MQTT 3 ends with the connection.
    :ivar client: paho's.
    """

    def __init__(
        self,
        port: int,
        client_id: str = "",
        protocol: Any = paho.MQTTv5,
        transport: Any = "tcp",
        clean: bool = True,
        password: str = PASSWORD,
    ) -> None:
        self.protocol = protocol
        self.is_clean = clean
        settings = {} if protocol == paho.MQTTv5 else {"clean_session": self.is_clean}
        self.client = paho.Client(CallbackAPIVersion.VERSION2, client_id, protocol=protocol, transport=transport, **settings)
        if transport == "websockets":
            self.client.ws_set_options(path="/mqtt")
        self.client.username_pw_set(LOGIN, password)
        self.client.on_connect = lambda client, data, flags, reason, properties: self._answers.put((flags, reason, properties))
        self.client.on_message = lambda client, data, message: self._messages.put(message)
        self.client.on_subscribe = lambda client, data, packet_id, reasons, properties: self._subscribed.put(reasons)
        self.client.on_disconnect = lambda client, data, flags, reason, properties: self._ends.put(reason)
        self._port = port
        self._answers: Queue[Any] = Queue()
        self._messages: Queue[Any] = Queue()
        self._subscribed: Queue[Any] = Queue()
        self._ends: Queue[Any] = Queue()

    def __enter__(self) -> PahoClient:
        self.connect()
        return self

    def __exit__(self, *error: object) -> None:
        self.client.disconnect()
        self.client.loop_stop()

    def connect(self, seconds: int = 0) -> Any:
        """Connect, and wait for the answer.

        :param seconds: how long the session outlives the connection, in MQTT 5.0.
        :returns: its flags.
        """
        flags, reason, _ = self.answer(seconds)
        assert not reason.is_failure, reason
        return flags

    def answer(self, seconds: int = 0) -> Any:
        """Connect, and wait for the answer: flags, reason and properties."""
        options: dict[str, Any] = {}
        if self.protocol == paho.MQTTv5:
            properties = Properties(PacketTypes.CONNECT)
            properties.SessionExpiryInterval = seconds
            options = {"clean_start": self.is_clean, "properties": properties}
        self.client.connect("127.0.0.1", self._port, keepalive=30, **options)
        self.client.loop_start()
        return self._answers.get(timeout=PATIENCE)

    def subscribe(self, pattern: str, qos: int = 2) -> list[Any]:
        """Subscribe, and wait for the answer."""
        self.client.subscribe(pattern, qos)
        return self._subscribed.get(timeout=PATIENCE)

    def publish(self, topic: str, payload: bytes, qos: int = 1, retain: bool = False) -> None:
        """Publish, and wait for the acknowledgement."""
        info = self.client.publish(topic, payload, qos, retain)
        info.wait_for_publish(PATIENCE)
        assert info.is_published()

    def message(self) -> Any:
        """The next message."""
        return self._messages.get(timeout=PATIENCE)

    def end(self) -> Any:
        """Wait for the end of the connection: its reason."""
        return self._ends.get(timeout=PATIENCE)

    def break_off(self) -> None:
        """End the connection without a DISCONNECT."""
        self.client.loop_stop()
        sock = self.client.socket()
        assert sock is not None, "it is connected"
        sock.close()

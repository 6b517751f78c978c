import os
import socket
import ssl

import pytest

from bench.client import Client, frame
from bench.figures import Failed, Missing
from bench.servers import MOSQUITTO_SETTINGS, DeviceHive, Echo, Mosquitto, find_mosquitto, mosquitto_version

CORES = os.sched_getaffinity(0)


def test_this_server_is_started_and_prepared(tmp_path):
    with DeviceHive(tmp_path / "hive", "memory:", CORES) as server:
        assert 0 < server.start_seconds < 60
        server.prepare(["one", "two"])
        with server.connect() as client:
            assert [device["id"] for device in client.call("device/list")["devices"]] == ["one", "two"]
            # It is a client, not the administrator.
            assert client.call("user/getCurrent")["current"]["role"] == 1
        token = server.token
        with server.prepare(["three"]).connect() as client:
            assert client.call("device/count")["count"] == 3
        assert token
    with pytest.raises(OSError):
        Client(server.port)


def test_a_refused_request_is_a_failure(tmp_path):
    with DeviceHive(tmp_path / "hive", "memory:", CORES) as server, Client(server.port) as client:
        with pytest.raises(Failed, match="device/list was refused"):
            client.call("device/list")
        with pytest.raises(Failed, match="a request was refused"):
            client.call_many([b'{"action":"server/info"}', b'{"action":"device/list"}'])


def test_a_server_that_does_not_start_is_a_failure_with_its_reason(tmp_path):
    with pytest.raises(Failed, match="no-such-storage"):
        DeviceHive(tmp_path / "hive", "no-such-storage:", CORES)


def test_the_echo_sends_back_what_it_gets(tmp_path):
    with Echo(tmp_path / "echo", CORES) as server, Client(server.port, "/") as client:
        client.send(frame(b"hello") + frame(b"x" * 200))
        assert [client.receive(), client.receive()] == [b"hello", b"x" * 200]


def speaks_tls(port):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with socket.create_connection(("127.0.0.1", port), timeout=30) as plain, context.wrap_socket(plain) as secure:
        return secure.version() == "TLSv1.3"


def test_this_server_listens_with_tls_as_well(tmp_path):
    with DeviceHive(tmp_path / "hive", "memory:", CORES, tls=True) as server, server.prepare().connect():
        assert server.tls_port != server.port
        assert speaks_tls(server.tls_port)


def test_the_echo_with_tls(tmp_path):
    with Echo(tmp_path / "echo", CORES, tls=True) as server:
        assert speaks_tls(server.port)


@pytest.mark.skipif(not mosquitto_version(), reason="Mosquitto is not installed")
def test_mosquitto_with_tls(tmp_path):
    with Mosquitto(tmp_path / "mosquitto", CORES, tls=True) as server:
        assert speaks_tls(server.port)


def test_without_mosquitto_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr("bench.servers.shutil.which", lambda *_, **__: None)
    assert mosquitto_version() == ""
    with pytest.raises(Missing, match="apt install mosquitto"):
        find_mosquitto()


def test_mosquitto_only_listens_to_this_machine_and_drops_nothing():
    lines = MOSQUITTO_SETTINGS.format(port=1234).splitlines()
    assert {"listener 1234 127.0.0.1", "persistence false", "max_inflight_messages 0", "max_queued_messages 0"} <= set(lines)

"""What the doctor says of endpoints."""

import socket
from threading import Thread

import pytest

from dhtwisted.cli.doctor import network
from dhtwisted.config.mqtt import MqttSettings
from dhtwisted.config.settings import MetricsSettings, ServerSettings, Settings, TlsSettings
from dhtwisted.config.sources import Configuration
from dhtwisted.service.listening import loopback_addresses
from tests.support.ports import free_port


@pytest.fixture
def impatient(monkeypatch):
    """The doctor waits less long for a program that answers nothing."""
    monkeypatch.setattr(network, "SECONDS", 0.2)


def look(*endpoints, metrics=(), mqtt=(), is_running=None, **sections):
    """Level and text of each finding."""
    parts = {"server": ServerSettings(listen=endpoints), "metrics": MetricsSettings(listen=metrics), "mqtt": MqttSettings(listen=mqtt)}
    settings = Settings(**parts, **sections)
    return [(finding.level, finding.text) for finding in network.check_endpoints(Configuration(settings), is_running)]


def test_a_free_port():
    endpoint = f"tcp:{free_port()}:interface=127.0.0.1"
    assert look(endpoint) == [("ok", f"{endpoint}: is free")]


def test_listening_unencrypted_for_everybody():
    port = free_port()
    (_, (level, text)) = look(f"tcp:{port}")
    assert level == "warning"
    assert "takes passwords and tokens unencrypted" in text
    assert [level for level, _ in look(f"tls:tcp:{port}")] == ["ok"]
    assert [level for level, _ in look(rf"tcp6:{port}:interface=\:\:1")] == ["ok"]


def test_a_free_port_of_mqtt_and_one_that_is_open_to_all():
    port = free_port()
    assert look(mqtt=[f"tcp:{port}:interface=127.0.0.1"]) == [("ok", f"tcp:{port}:interface=127.0.0.1: is free")]
    (_, (level, text)) = look(mqtt=[f"tcp:{port}"])
    assert (level, "takes passwords and tokens unencrypted" in text) == ("warning", True)
    assert [level for level, _ in look(mqtt=[f"tls:tcp:{port}"])] == ["ok"]
    assert ("wrong", f"tcp:{port}: stands here twice; remove one") in look(f"tcp:{port}", mqtt=[f"tcp:{port}"])


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("answer", "level"), [(b"\x20\x03\x00\x87\x00", "ok"), (b"HTTP/1.1 400 Bad\r\n\r\n", "wrong"), (b"", "wrong")])
def test_who_answers_at_a_port_of_mqtt(answer, level):
    with socket.create_server(("127.0.0.1", 0)) as taken:

        def serve():
            connection, _ = taken.accept()
            with connection:
                assert connection.recv(100).startswith(b"\x10")
                connection.sendall(answer)

        thread = Thread(target=serve)
        thread.start()
        ((found, _),) = look(mqtt=[f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"], is_running=True)
        thread.join()
    assert found == level


@pytest.mark.usefixtures("impatient")
def test_a_port_that_another_program_has():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        taken.settimeout(1)
        ((level, text),) = look(f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1")
    assert level == "wrong"
    assert "another program" in text


@pytest.mark.parametrize(
    "body",
    [b"7", b"null", b'"apiVersion"', b'["apiVersion"]', b"{}", b'"\xff"', b"[" * 100_000, b"nothing"],
    ids=lambda body: ascii(body[:12]),
)
def test_a_program_that_answers_something_else(body):
    def answer():
        connection, _ = server.accept()
        with connection:
            connection.recv(1000)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = Thread(target=answer)
        thread.start()
        assert network.is_hive(*server.getsockname(), False, "/api") is False
        thread.join()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("is_running", "level"), [(True, "ok"), (None, "warning"), (False, "wrong")])
def test_a_server_that_asks_for_certificates(is_running, level):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        taken.settimeout(1)
        endpoint = f"tls:tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
        tls = TlsSettings(certificate="c.pem", client_authority="ca.pem")
        assert [found for found, _ in look(endpoint, is_running=is_running, tls=tls)] == [level]


def test_metrics():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert look(metrics=[f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"], is_running=False)[0][0] == "wrong"
    assert [level for level, _ in look(metrics=[f"tcp:{free_port()}"])] == ["ok", "warning"]


def test_one_endpoint_twice():
    endpoint = f"tcp:{free_port()}:interface=127.0.0.1"
    assert [level for level, _ in look(endpoint, endpoint)] == ["ok", "wrong"]
    assert [level for level, _ in look(endpoint, metrics=[endpoint])] == ["ok", "wrong"]
    assert [level for level, _ in look("tcp:0:interface=127.0.0.1", "tcp:0:interface=127.0.0.1")] == ["ok", "ok"]


def test_localhost_is_this_machine():
    assert [level for level, _ in look(f"tcp:{free_port()}:interface=localhost")] == ["ok"]
    for address in loopback_addresses():
        with socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET) as taken:
            endpoint = f"tcp:{taken.getsockname()[1]}:interface=localhost"
            assert [level for level, _ in look(endpoint, is_running=False)] == ["wrong"]


def test_a_server_behind_the_proxy_protocol_is_asked_by_it():
    received = []

    def answer():
        connection, _ = server.accept()
        with connection:
            received.append(connection.recv(1000))
            body = b'{"apiVersion": "4"}'
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = Thread(target=answer)
        thread.start()
        assert look(f"haproxy:tcp:{server.getsockname()[1]}:interface=127.0.0.1")[0][0] == "ok"
        thread.join()
    assert received[0].startswith(b"PROXY UNKNOWN\r\n")


def test_an_address_of_another_machine():
    ((level, text), _) = look("tcp:8080:interface=192.0.2.1")
    assert level == "wrong"
    assert "cannot be listened on" in text


def test_a_port_that_is_not_permitted(monkeypatch):
    class Probe(socket.socket):
        def bind(self, address):
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(network.socket, "socket", Probe)
    ((level, text),) = look("tcp:80:interface=127.0.0.1")
    assert level == "wrong"
    assert "CAP_NET_BIND_SERVICE" in text


@pytest.mark.parametrize(("directory", "level"), [("", "ok"), ("/none", "wrong")])
def test_a_unix_socket(tmp_path, directory, level):
    ((found, _),) = look(f"unix:{tmp_path}{directory}/socket")
    assert found == level


def test_what_systemd_keeps():
    assert look("systemd:domain=INET:name=devicehive")[0][0] == "ok"

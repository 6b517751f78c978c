"""The same port over TLS, by an ``ssl:`` endpoint."""

import json
import socket
import ssl
import urllib.request

import pytest
import websocket

from tests.support.certificates import write_certificate
from tests.support.servers.process import Client

pytestmark = [pytest.mark.slow, pytest.mark.lowest]


@pytest.fixture
def certificate(tmp_path):
    """A self-signed certificate and its key in one file."""
    return write_certificate(tmp_path / "server.pem")


@pytest.mark.parametrize("protocols", [["http/1.1"], ["h2", "http/1.1"]], ids=",".join)
def test_clients_that_choose_a_protocol_by_alpn(start, certificate, protocols):
    server = start("--storage", "memory:", endpoint=f"ssl:0:interface=127.0.0.1:privateKey={certificate}:certKey={certificate}")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(protocols)
    with socket.create_connection(("127.0.0.1", server.port)) as plain, context.wrap_socket(plain) as secure:
        assert secure.selected_alpn_protocol() == "http/1.1"
        secure.sendall(b"GET /api/rest/info HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
        assert secure.recv(100).startswith(b"HTTP/1.1 200 ")


def test_websocket_and_info(start, certificate):
    server = start("--storage", "memory:", endpoint=f"ssl:0:interface=127.0.0.1:privateKey={certificate}:certKey={certificate}")
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with urllib.request.urlopen(server.url("/api/rest/info", "https"), context=context) as answer:
        assert json.load(answer)["webSocketServerUrl"] == server.url("/api/websocket", "wss")
    client = Client(server.url(scheme="wss"), sslopt={"cert_reqs": ssl.CERT_NONE})
    client.log_in()
    assert client.call("server/info")["info"]["restServerUrl"] == server.url("/api/rest", "https")
    client.call("device/save", deviceId="d1", device={"data": "x" * 900_000})
    assert client.call("device/get", deviceId="d1")["device"]["data"] == "x" * 900_000
    with pytest.raises(websocket.WebSocketBadStatusException, match="404"):
        Client(server.url("/nothing", "wss"), sslopt={"cert_reqs": ssl.CERT_NONE})
    assert server.terminate() == 0
    assert "Traceback" not in server.log

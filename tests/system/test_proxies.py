"""nginx and HAProxy in front of the server, configured as docs/proxies.md says."""

import json
import re

import pytest

from tests.support.certificates import write_certificate
from tests.support.servers.process import PASSWORD
from tests.support.servers.proxies import HOST, PAGE, block, endpoint, haproxy, haproxy_passing, haproxy_passing_v1, nginx, server_settings

pytestmark = [pytest.mark.slow, pytest.mark.lowest]

STRANGER, OTHER = "127.0.0.2", "127.0.0.3"
WRONG_LOGINS = 30


@pytest.fixture(params=[nginx, haproxy, haproxy_passing, haproxy_passing_v1], ids=lambda proxy: proxy.__name__)
def proxied(request, start, tmp_path):
    """A server and a proxy in front of it."""
    part = "tls:haproxy:" if "passing" in request.param.__name__ else "trusted_proxies"
    files = {"DHTWISTED_LOG_AUDIT_FILE": "audit.log"}
    if "passing" in request.param.__name__:
        files["DHTWISTED_TLS_CERTIFICATE"] = str(write_certificate(tmp_path / "server.pem"))
    server = start("--storage", "memory:", endpoint=endpoint(part), **server_settings(part), **files)
    proxy = request.param(tmp_path, server)
    yield server, proxy
    proxy.stop()
    assert " critical " not in server.log and " error " not in server.log, server.log[:5000]


def log_in(proxy, address, login, password, **headers):
    """Try to log in."""
    return proxy.request(address, "POST", "/api/rest/token", {"login": login, "password": password}, **headers)


def test_wrong_logins_of_one_stranger_leave_the_others_free(proxied, tmp_path):
    server, proxy = proxied
    for n in range(WRONG_LOGINS):
        # What the stranger says of itself changes nothing.
        claims = {"X-Forwarded-For": f"192.0.2.{n}", "Forwarded": f"for=192.0.2.{n}"}
        assert log_in(proxy, STRANGER, f"nobody-{n}", "wrong", **claims)[0] == 401
    status, headers, content = log_in(proxy, STRANGER, "dhadmin", PASSWORD)
    assert (status, content["message"]) == (429, "Too many requests")
    assert 0 < int(headers["Retry-After"]) == content["retryAfter"] <= 60
    assert log_in(proxy, OTHER, "dhadmin", PASSWORD)[0] == 201
    with_websocket = proxy.websocket(STRANGER)
    with_websocket.send(action="token", login="dhadmin", password=PASSWORD)
    assert with_websocket.receive()["code"] == 429
    with_websocket.close()
    proxy.websocket(OTHER).log_in()
    told = re.findall(r"address=([0-9a-f.:]+)\S*\] a login failed", server.log)
    assert set(told) == {STRANGER}, server.log[:5000]
    records = [json.loads(line) for line in (tmp_path / "audit.log").read_text().splitlines()]
    assert {record["address"] for record in records if record["result"] == "refused" and "address" in record} == {STRANGER}
    assert OTHER in {record.get("address") for record in records if record["event"] == "token" and record["result"] == "success"}


def test_clients_are_told_the_address_by_which_they_came(proxied):
    _, proxy = proxied
    place = f"{HOST}:{proxy.port}"
    assert proxy.request(OTHER, "GET", "/api/rest/info")[2]["webSocketServerUrl"] == f"wss://{place}/api/websocket"
    socket = proxy.websocket(OTHER)
    assert socket.call("server/info")["info"]["restServerUrl"] == f"https://{place}/api/rest"
    socket.close()


def test_events_and_long_polls_pass(proxied):
    _, proxy = proxied
    socket = proxy.websocket(OTHER)
    socket.log_in()
    socket.call("device/save", deviceId="d1", device={"name": "d1"})
    socket.call("notification/subscribe", deviceId="d1")
    token = socket.call("token", login="dhadmin", password=PASSWORD)["accessToken"]
    headers = {"Authorization": f"Bearer {token}"}
    body = {"notification": "temperature", "parameters": {"celsius": 21.5, "text": "x" * 100_000}}
    assert proxy.request(STRANGER, "POST", "/api/rest/device/d1/notification", body, **headers)[0] == 201
    assert socket.receive()["notification"]["parameters"] == body["parameters"]
    path = "/api/rest/device/d1/notification/poll?timestamp=2026-01-01T00:00:00&waitTimeout=60"
    ((message,), status) = (answer := proxy.request(STRANGER, "GET", path, **headers))[2], answer[0]
    assert (status, message["notification"]) == (200, "temperature")
    assert proxy.request(STRANGER, "GET", "/api/rest/device/d1/command/poll?waitTimeout=1", **headers)[2] == []
    assert proxy.request(STRANGER, "GET", "/api/websocket")[0] == 426
    socket.close()


def test_every_time_on_the_page_lets_a_long_poll_wait():
    blocks = [block("nginx"), block("haproxy", "mode http"), block("haproxy", "send-proxy-v2")]
    times = {name: int(seconds) for text in blocks for name, seconds in re.findall(r"(proxy_read_timeout|timeout \w+) (\d+)s", text)}
    assert {"proxy_read_timeout", "timeout client", "timeout server"} <= times.keys()
    assert all(seconds > 60 for name, seconds in times.items() if name not in {"timeout connect", "timeout http"})
    assert "limits.idle_timeout" in PAGE

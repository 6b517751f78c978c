"""``devicehive doctor`` as a command: beside a running server, and with a wrong configuration."""

import ssl

import pytest

from dhtwisted import __version__
from tests.support.certificates import write_certificate
from tests.support.ports import free_port
from tests.support.servers.process import Client
from tests.support.servers.shell import examine

pytestmark = [pytest.mark.slow, pytest.mark.lowest]

KEY = "DHTWISTED_AUTH_SECRET"


def names(directory):
    return sorted(path.name for path in directory.iterdir())


@pytest.mark.parametrize("scheme", ["tcp", "tls:tcp"])
def test_beside_a_running_server(start, tmp_path, scheme):
    endpoint = f"{scheme}:{free_port()}:interface=127.0.0.1"
    metrics = f"tcp:{free_port()}:interface=127.0.0.1"
    environment = {
        "DHTWISTED_TLS_CERTIFICATE": str(write_certificate(tmp_path / "server.pem", 100)),
        "DHTWISTED_LIMITS_CONNECTIONS": "100",
        "DHTWISTED_METRICS_LISTEN": metrics,
    }
    server = start(endpoint=endpoint, **environment)
    client = Client(server.url(scheme="ws" if scheme == "tcp" else "wss"), sslopt={"cert_reqs": ssl.CERT_NONE})
    client.log_in()
    before = names(tmp_path)
    status, lines = examine(tmp_path, "--listen", endpoint, **environment)
    assert status == 0
    assert [line for line in lines if not line.startswith("ok ")] == [lines[-1]]
    assert lines[-1].endswith("0 of them wrong, 0 warnings")
    assert f"ok       port: {endpoint}: a DeviceHive server answers there" in lines
    assert f"ok       metrics port: {metrics}: a DeviceHive server answers there" in lines
    assert (
        f"ok       server: process {server.process.pid} of version {__version__} listens on 127.0.0.1:{server.port}, and is ready" in lines
    )
    assert any(f"the server with process id {server.process.pid} works on it" in line for line in lines)
    assert names(tmp_path) == before
    client.call("device/save", deviceId="d1", device={"name": "d1"})
    status, lines = examine(tmp_path, "--listen", endpoint, **environment | {"DHTWISTED_STORAGE_RETENTION": "1d"})
    assert (status, [line.split(";")[0] for line in lines if line.startswith("warning")]) == (
        0,
        ["warning  server: it runs with other values of storage.retention than are configured"],
    )
    assert server.terminate() == 0


def test_beside_a_server_that_has_other_data(start, tmp_path):
    endpoint = f"tcp:{free_port()}:interface=127.0.0.1"
    start(endpoint=endpoint)
    (tmp_path / "other").mkdir()
    status, lines = examine(tmp_path / "other", "--listen", endpoint)
    assert status == 1
    assert any(line.startswith(f"wrong    port: {endpoint}: another program listens there") for line in lines)


def test_an_empty_directory_stays_empty(tmp_path):
    status, lines = examine(tmp_path, "--listen", f"tcp:{free_port()}:interface=127.0.0.1", DHTWISTED_LIMITS_CONNECTIONS="100")
    assert (status, names(tmp_path)) == (0, []), lines


def test_what_is_wrong_gives_status_1(tmp_path):
    (tmp_path / "hive.toml").write_text("[limits]\nconections = 5\n")
    status, (line, *_) = examine(tmp_path, "--config", "hive.toml")
    assert status == 1
    assert line == "wrong    configuration: hive.toml: limits.conections: is no option; did you mean connections?"
    assert examine(tmp_path, **{KEY: "secret"})[0] == 1

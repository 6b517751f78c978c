"""What the doctor says of proxies."""

import pytest

from dhtwisted.cli.doctor.proxies import check_proxies
from dhtwisted.config.settings import ServerSettings, Settings
from dhtwisted.config.sources import Configuration


def look(*listen, **values):
    """Level and text of each finding."""
    server = ServerSettings(listen=listen or ("tcp:8080:interface=localhost",), **values)
    return [(finding.level, finding.text) for finding in check_proxies(Configuration(Settings(server=server)))]


@pytest.mark.parametrize(
    ("listen", "values"),
    [
        ((), {}),
        (("tcp:8080",), {"public_url": "http://hive.example.com:8080"}),
        (("tls:tcp:8443",), {"public_url": "https://hive.example.com:8443"}),
        (("haproxy:tcp:8080",), {"public_url": "https://hive.example.com"}),
        (("haproxy:unix:/run/hive",), {}),
    ],
)
def test_nothing_speaks_of_a_proxy_without_an_address(listen, values):
    assert look(*listen, **values) == []


@pytest.mark.parametrize("listen", ["tcp:8080:interface=127.0.0.1", "systemd:domain=INET:index=0"])
def test_tls_must_end_somewhere(listen):
    ((level, text),) = look(listen, public_url="https://hive.example.com")
    assert (level, "server.trusted_proxies" in text) == ("warning", True)
    assert look(listen, public_url="https://hive.example.com", trusted_proxies=("127.0.0.1",))[0][0] == "ok"


def test_who_comes_by_a_unix_socket_has_no_address():
    assert [level for level, _ in look("unix:/run/hive", trusted_proxies=("127.0.0.1",))] == ["warning"]
    assert [level for level, _ in look("unix:/run/hive", trusted_proxies=("unix",))] == ["ok"]


def test_everybody_is_no_proxy():
    assert [level for level, _ in look(trusted_proxies=("0.0.0.0/0", "::/0", "10.0.0.0/8"))] == ["warning", "warning"]

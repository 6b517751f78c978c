"""Endpoint strings: which are taken, which are in clear, and what is said of others."""

import pytest
import pytest_twisted
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactor

from dhtwisted.endpoints import BACKLOG, check_endpoint, is_clear, is_tls, listen, open_endpoint
from dhtwisted.errors import ConfigurationError


@pytest.mark.parametrize(
    "description",
    [
        "tcp:8080",
        "tls:tcp:8443:interface=127.0.0.1",
        "tls:tcp6:8443",
        "unix:/run/devicehive/socket",
        "tls:systemd:domain=INET6:name=devicehive",
        "systemd:domain=INET:index=0",
    ],
)
def test_good_ones(description):
    check_endpoint(description)


@pytest.mark.parametrize(
    ("description", "words"),
    [
        ("tls:tcp:70000", "above 65535"),
        ("tls:", "is no endpoint"),
        ("tls:8443", "is no endpoint"),
        ("tls:tls:tcp:1", "TLS twice"),
        ("tls:ssl:1", "TLS twice"),
        ("systemd:", "domain=INET:name=devicehive"),
        ("systemd:domain=INET", "domain=INET:name=devicehive"),
        ("tcp:", "is no endpoint"),
        ("tcp:0:interface=a\0b", "cannot be printed"),
        (f"unix:/{'x' * 107}", "a path of more than 107 bytes"),
        ("carrier-pigeon:1", "is no endpoint"),
    ],
)
def test_bad_ones(description, words):
    with pytest.raises(ValueError, match=words):
        check_endpoint(description)


def test_what_is_in_clear():
    assert [is_clear(text) for text in ("tcp:1", "tcp6:1", "systemd:domain=INET:index=0", "tls:tcp:1", "ssl:1", "unix:/a")] == [
        True
    ] * 3 + [False] * 3
    assert is_tls("tls:tcp:1")
    assert not is_tls("ssl:1")


def test_tls_is_in_front_of_an_endpoint_of_its_own():
    assert isinstance(open_endpoint(None, "tls:tcp:8443"), TCP4ServerEndpoint)


@pytest.mark.parametrize(
    ("description", "backlog"), [("tcp:1", BACKLOG), ("tls:tcp:1:interface=127.0.0.1", BACKLOG), ("tcp:1:backlog=7:interface=127.0.0.1", 7)]
)
def test_many_clients_may_wait_to_be_accepted(description, backlog):
    ports = MemoryReactor()
    open_endpoint(ports, description).listen(Factory())
    assert ports.tcpServers[0][2] == backlog


def test_a_socket_that_systemd_has_not_passed():
    with pytest.raises(ConfigurationError, match=r"server\.listen: .*devicehive\.socket"):
        open_endpoint(None, "tls:systemd:domain=INET:name=devicehive")
    with pytest.raises(ConfigurationError, match=r"metrics\.listen: "):
        open_endpoint(None, "systemd:domain=INET:name=devicehive", "metrics.listen")


@pytest.mark.parametrize(
    ("description", "words"),
    [
        ("tcp:0:interface=192.0.2.1", "this machine has no such address"),
        ("unix:/nowhere/at/all", "there is no such directory"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_where_nobody_can_listen(reactor, description, words):
    with pytest.raises(ConfigurationError, match=f"^metrics.listen: {description}: {words}"):
        await listen(reactor, description, Factory(), "metrics.listen")

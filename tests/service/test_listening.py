"""Sockets of endpoints: where the server listens, and what the error says where it cannot."""

import pytest
import pytest_twisted
from twisted.internet.defer import maybeDeferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactor

from dhtwisted.errors import ConfigurationError
from dhtwisted.service.listening import BACKLOG, listen, loopback_addresses, open_endpoint


def test_tls_is_in_front_of_an_endpoint_of_its_own():
    assert isinstance(open_endpoint(None, "tls:tcp:8443"), TCP4ServerEndpoint)


@pytest.mark.parametrize(
    ("description", "backlog"),
    [("tcp:1", BACKLOG), ("tls:haproxy:tcp:1:interface=127.0.0.1", BACKLOG), ("tcp:1:backlog=7:interface=127.0.0.1", 7)],
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
        ("tcp:0:interface=192.0.2.1", "this machine does not have that address"),
        ("unix:/nowhere/at/all", "that directory does not exist"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_where_nobody_can_listen(reactor, description, words):
    with pytest.raises(ConfigurationError, match=f"^metrics.listen: {description}: {words}"):
        await listen(reactor, description, Factory(), "metrics.listen")


# localhost


def ports_of(listening):
    return [(port.getHost().host, port.getHost().port) for port in listening]


async def stop(listening):
    for port in listening:
        await maybeDeferred(port.stopListening)


@pytest.mark.parametrize(
    "description", ["tcp:0:interface=localhost", "tcp:port=0:backlog=5:interface=localhost", "tcp:0:interface=localhost:backlog=5"]
)
@pytest_twisted.ensureDeferred
async def test_localhost_is_both_families_with_one_number(reactor, description):
    listening = await listen(reactor, description, Factory())
    (first, number), *others = ports_of(listening)
    await stop(listening)
    assert [first, *(host for host, _ in others)] == loopback_addresses()
    assert {port for _, port in others} <= {number}


@pytest_twisted.ensureDeferred
async def test_a_family_that_is_missing_is_no_error(reactor, monkeypatch):
    monkeypatch.setattr("dhtwisted.service.listening._has_address", lambda address: address == "127.0.0.1")
    listening = await listen(reactor, "tcp:0:interface=localhost", Factory())
    assert [host for host, _ in ports_of(listening)] == ["127.0.0.1"]
    await stop(listening)


@pytest_twisted.ensureDeferred
async def test_a_given_number_that_is_taken_in_either_family_is_an_error(reactor):
    if loopback_addresses() != ["127.0.0.1", "::1"]:
        pytest.skip("this machine has no ::1")
    for address in loopback_addresses():
        (taken,) = await listen(reactor, "tcp:0:interface=" + address.replace(":", r"\:"), Factory())
        number = taken.getHost().port
        with pytest.raises(ConfigurationError, match="another program listens there"):
            await listen(reactor, f"tcp:{number}:interface=localhost", Factory())
        await stop([taken])
        again = await listen(reactor, f"tcp:{number}:interface=localhost", Factory())
        assert len(again) == 2, "nothing of the attempt is left"
        await stop(again)


@pytest_twisted.ensureDeferred
async def test_a_chosen_number_that_is_taken_in_the_second_family_is_exchanged(reactor, monkeypatch):
    if loopback_addresses() != ["127.0.0.1", "::1"]:
        pytest.skip("this machine has no ::1")
    first = []

    def open_one(reactor, description, option):
        if r"\:" in description and not first:
            # What another program does in between.
            number = description.split(":")[1]
            first.append(reactor.listenTCP(int(number), Factory(), interface="::1"))
        return open_endpoint(reactor, description, option)

    monkeypatch.setattr("dhtwisted.service.listening.open_endpoint", open_one)
    listening = await listen(reactor, "tcp:0:interface=localhost", Factory())
    numbers = {number for _, number in ports_of(listening)}
    assert len(listening) == 2 and len(numbers) == 1 and first[0].getHost().port not in numbers
    await stop([*listening, *first])

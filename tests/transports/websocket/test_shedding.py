"""An open connection keeps no more than it needs, and loses nothing by that."""

import sys

import pytest
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.compress import PerMessageDeflateOfferAccept
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from dhtwisted.transports.websocket.shedding import SHARED
from tests.support.alone import Side
from tests.support.raw import CLOSE, frame

OURS = {"client", "follows_requests"}


@pytest.fixture
def of_autobahn():
    """Attributes of a connection of Autobahn during its handshake."""
    factory = WebSocketServerFactory()
    factory.protocol = WebSocketServerProtocol
    protocol = factory.buildProtocol(None)
    protocol.makeConnection(StringTransport())
    request = "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    protocol.dataReceived(f"{request}Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
    yield vars(protocol)
    protocol.connectionLost(Failure(ConnectionDone()))


def test_autobahn_has_the_attributes_that_are_dropped(of_autobahn):
    assert SHARED.keys() - of_autobahn.keys() == OURS


def test_the_class_has_what_the_object_has_not():
    protocol = Side().protocol
    assert not SHARED.keys() & vars(protocol).keys()
    assert {name: getattr(protocol, name) for name in SHARED} == SHARED


def test_an_open_connection_has_a_small_dict():
    # With more than 42 attributes it has 1,584 bytes.
    assert sys.getsizeof(vars(Side().protocol)) <= 832


def test_what_differs_stays():
    headers = "Sec-WebSocket-Extensions: permessage-deflate\r\n"
    side = Side(accept=lambda offers: PerMessageDeflateOfferAccept(offers[0]), headers=headers)
    assert side.is_open
    assert side.protocol._perMessageCompress is not None


def test_the_end_is_as_before():
    side = Side()
    side.feed(frame((1000).to_bytes(2, "big"), CLOSE))
    side.protocol.connectionLost(Failure(ConnectionDone()))
    assert side.protocol.remoteCloseCode == 1000
    assert side.protocol.wasClean
    assert side.session.closed

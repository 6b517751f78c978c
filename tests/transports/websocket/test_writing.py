"""Frames leave in order, whole and once, whatever the transport takes of them."""

import socket
import sys

import pytest
from autobahn.twisted.websocket import WebSocketServerProtocol
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet import tcp, unix
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from dhtwisted.core.budget import SLOW_SECONDS
from dhtwisted.transports.websocket.writing import FLUSH_AT, PIECE, PORTION, PREPARED
from tests.support.raw import CLOSE, PING, PONG, TEXT, frame
from tests.support.wire import Reactor, Socket, Wire, Wired

UNLIMITED = {"output_queue": 0}
NORMAL = (1000).to_bytes(2, "big")


def framed(payload, opcode=TEXT):
    """One frame as a server sends it."""
    return frame(payload, opcode, masked=False)


def text(number, size):
    """A payload that tells which it is."""
    return (b"%d:" % number).ljust(size, b".")[: max(size, 1)]


sizes = st.one_of(st.integers(0, 200), st.sampled_from([125, 126, PREPARED - 1, PREPARED, 65535, 65536]), st.integers(0, 3 * FLUSH_AT))
actions = st.one_of(
    st.tuples(st.just("send"), sizes),
    st.tuples(st.just("event"), sizes),
    st.tuples(st.just("ping"), st.integers(0, 125)),
    st.tuples(st.just("turn"), st.just(0)),
    st.tuples(st.just("room"), st.integers(0, 400) | st.integers(0, 2 * FLUSH_AT)),
)


def act(wired, number, action, size):
    """Do one thing; returns the bytes that must leave because of it."""
    payload = text(number, size)
    if action == "send":
        wired.protocol.send(payload)
        return framed(payload)
    if action == "event":
        wired.protocol.send_event(payload[: size // 2], payload[size // 2 :])
        return framed(payload)
    if action == "ping":
        payload = payload[:125]
        wired.protocol.dataReceived(frame(payload, PING))
        return framed(payload, PONG)
    if action == "turn":
        wired.turn()
    else:
        wired.socket.plan.append(size)
    return b""


def congest(wired):
    """Send something of which the transport can get rid of a part only; returns it framed."""
    wired.socket.plan[:] = [1000] + [0] * 20
    wired.protocol.send(b"first".ljust(5000, b"."))
    wired.turn()
    assert wired.protocol.congested
    return framed(b"first".ljust(5000, b"."))


@given(st.lists(actions, max_size=40))
@example([("room", 1), ("send", 500), ("turn", 0), ("ping", 5), ("event", 70_000), ("room", 0), ("turn", 0), ("turn", 0), ("send", 3)])
def test_all_leaves_in_order_and_once(steps):
    wired, expected = Wired(**UNLIMITED), b""
    for number, (action, size) in enumerate(steps):
        expected += act(wired, number, action, size)
        assert expected.startswith(wired.received)
    wired.drain()
    assert wired.received == expected
    assert (wired.protocol.queued, wired.protocol.congested, wired.traffic.octets_sent) == (0, False, len(expected))
    assert wired.transport.producer is None
    assert wired.protocol.factory.budget.total == 0


@given(st.lists(actions, max_size=30), st.booleans())
def test_a_close_leaves_after_all_that_came_before_it(steps, is_ours):
    wired, expected = Wired(**UNLIMITED), b""
    for number, (action, size) in enumerate(steps):
        expected += act(wired, number, action, size)
    if is_ours:
        wired.protocol.sendClose(1000)
    else:
        wired.protocol.dataReceived(frame(NORMAL, CLOSE))
    wired.protocol.send(b"too late")
    wired.drain()
    assert wired.received == expected + framed(NORMAL, CLOSE)
    assert wired.traffic.octets_sent == len(wired.received)
    assert wired.transport.disconnected != is_ours
    assert wired.session.closed != is_ours


@given(st.lists(actions, max_size=20), st.lists(actions, max_size=20))
def test_of_a_broken_connection_nothing_is_sent_twice_and_nothing_stays(steps, afterwards):
    wired, expected = Wired(**UNLIMITED), b""
    for number, (action, size) in enumerate(steps):
        expected += act(wired, number, action, size)
    wired.lose()
    for number, (action, size) in enumerate(afterwards, len(steps)):
        act(wired, number, action, size)
    wired.protocol.send(b"another")
    wired.drain()
    assert wired.transport.disconnected
    assert wired.session.closed
    assert wired.protocol.queued == 0
    assert wired.protocol.factory.budget.total == 0
    assert expected.startswith(wired.received)


LARGE = 2_000_000


def test_a_large_message_leaves_in_portions_and_what_is_left_of_it_counts():
    wired = Wired()
    budget = wired.protocol.factory.budget
    wired.protocol.send(b"x" * LARGE)
    held = []
    while wired.protocol.congested:
        assert 0 <= budget.total - (len(framed(b"x" * LARGE)) - len(wired.received)) < PIECE
        held.append(budget.total)
        wired.turn()
    assert wired.received == framed(b"x" * LARGE)
    assert len(held) >= LARGE // PORTION
    assert max(wired.socket.sends) <= PORTION
    assert budget.total == 0


def test_what_has_left_of_a_large_reply_is_not_in_memory_any_more():
    wired, payload = Wired(), b"x" * LARGE
    references = sys.getrefcount(payload)
    wired.protocol.send(payload)
    assert wired.protocol.congested
    assert sys.getrefcount(payload) == references


def test_a_large_event_counts_as_long_as_it_is_in_memory():
    wired, body = Wired(), b"x" * LARGE
    references, turns = sys.getrefcount(body), 0
    wired.protocol.send_event(b"{", body)
    while sys.getrefcount(body) > references:
        assert wired.protocol.factory.budget.total >= LARGE
        wired.turn()
        turns += 1
    assert turns >= LARGE // PORTION - 1
    wired.drain()
    assert wired.protocol.factory.budget.total == 0


def test_who_takes_some_of_a_large_message_is_not_ended():
    wired = Wired()
    budget, seconds = wired.protocol.factory.budget, 0
    wired.protocol.send(b"x" * LARGE)
    while wired.protocol.congested:
        # It takes a little every five seconds, and a minute in all.
        wired.socket.plan[:] = [PORTION, 0]
        wired.turn()
        wired.reactor.advance(SLOW_SECONDS / 2)
        seconds += SLOW_SECONDS / 2
        budget.tick(wired.reactor.seconds())
        assert not wired.transport.disconnected
    assert seconds > 2 * SLOW_SECONDS


def test_who_takes_nothing_is_aborted():
    wired = Wired()
    congest(wired)
    budget = wired.protocol.factory.budget
    assert budget.total > 0
    wired.reactor.advance(SLOW_SECONDS + 1)
    budget.tick(wired.reactor.seconds())
    wired.turn()
    assert (wired.transport.disconnected, wired.session.closed, budget.total) == (True, True, 0)


def test_a_turn_is_one_write():
    wired = Wired()
    for number in range(100):
        wired.protocol.send(b"%d" % number)
    assert wired.socket.sends == []
    wired.turn()
    assert wired.socket.sends == [len(wired.received)]


def test_what_is_large_does_not_wait_for_the_end_of_the_turn():
    wired = Wired()
    wired.protocol.send(b"x" * (FLUSH_AT + 1))
    assert wired.received == framed(b"x" * (FLUSH_AT + 1))


def test_the_session_is_told_when_there_is_room_again():
    wired = Wired()
    expected = congest(wired)
    wired.turn()
    assert wired.session.drained == 0
    wired.drain()
    assert (wired.received, wired.session.drained, wired.protocol.congested) == (expected, 1, False)
    expected += congest(wired)
    wired.drain()
    assert (wired.received, wired.session.drained) == (expected, 2)


def test_a_pong_waits_its_turn():
    wired = Wired()
    expected = congest(wired)
    wired.protocol.dataReceived(frame(b"hello", PING))
    wired.protocol.send(b"after")
    wired.turn()
    wired.drain()
    assert wired.received == expected + framed(b"hello", PONG) + framed(b"after")


def test_to_abort_forgets_whole_frames_only():
    wired = Wired()
    expected = congest(wired)
    wired.protocol.send(b"forgotten")
    wired.protocol.abort("for a reason")
    wired.drain()
    assert wired.received == expected + framed((1011).to_bytes(2, "big") + b"for a reason", CLOSE)


def test_the_connection_is_lost_while_congested():
    wired = Wired()
    congest(wired)
    wired.protocol.send(b"never sent")
    wired.transport.connectionLost(Failure(ConnectionLost()))
    wired.protocol.send(b"nor this")
    wired.drain()
    assert (wired.protocol.queued, wired.session.closed, len(wired.received)) == (0, True, 1000)


def test_a_closed_connection_of_which_the_rest_is_not_taken_is_dropped():
    wired = Wired()
    congest(wired)
    wired.protocol.dataReceived(frame(NORMAL, CLOSE))
    wired.protocol.factory.upkeep.tick(wired.reactor.seconds())
    wired.turn()
    assert not wired.transport.disconnected
    wired.reactor.advance(SLOW_SECONDS + 1)
    wired.protocol.factory.upkeep.tick(wired.reactor.seconds())
    wired.turn()
    assert wired.transport.disconnected
    assert wired.session.closed


# What is leaned on in Twisted and Autobahn


class Producer:
    """A pull producer that counts how often it is asked."""

    def __init__(self):
        self.asked = 0
        self.stopped = False

    def resumeProducing(self):
        self.asked += 1

    def stopProducing(self):
        self.stopped = True


def wire(plan):
    reactor = Reactor()
    return Wire(Socket(plan), reactor)


def test_a_pull_producer_is_asked_when_it_registers_and_when_everything_is_sent():
    transport, producer = wire([3, 0, 2]), Producer()
    transport.write(b"0123456789")
    transport.registerProducer(producer, False)
    assert producer.asked == 1
    for _ in range(3):
        assert transport.doWrite() is None
        assert producer.asked == 1
    transport.doWrite()
    assert producer.asked == 2
    assert transport.socket.received == b"0123456789"


def test_a_transport_tells_its_producer_that_it_is_gone():
    transport, producer = wire([]), Producer()
    transport.registerProducer(producer, False)
    transport.protocol = WebSocketServerProtocol()
    transport.protocol.connectionLost = lambda reason: None
    transport.connectionLost(Failure(ConnectionLost()))
    assert producer.stopped


def test_the_handle_of_a_transport_is_its_socket_which_does_not_block():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        transport = tcp.Connection(ours, None, Reactor())
        assert transport.getHandle() is ours
        assert not ours.getblocking()


@pytest.mark.parametrize("transport", [tcp.Server, tcp.Client, unix.Server])
def test_sockets_are_written_to_directly_and_say_whether_they_are_secure(transport):
    assert issubclass(transport, tcp.Connection)
    assert transport.TLS is False


@pytest.mark.parametrize("name", ["sendData", "sendCloseFrame", "_closeConnection", "sendMessage", "unregisterProducer"])
def test_the_methods_of_autobahn_that_write_are_there(name):
    assert callable(getattr(WebSocketServerProtocol, name))

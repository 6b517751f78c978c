"""Messages that are handed over together leave as one by one: the same bytes in the same portions, and the same end of a slow client."""

from hypothesis import example, given
from hypothesis import strategies as st

from dhtwisted.transports.websocket.writing import BURST_SECONDS, FLUSH_AT, PORTION, PREPARED
from tests.support.alone import Side, Transport
from tests.support.raw import CLOSE, frame
from tests.support.wire import Wired

sizes = st.one_of(
    st.integers(0, 300), st.sampled_from([PREPARED - 1, PREPARED, 65535, 65536, PORTION, PORTION + 1]), st.integers(0, 2 * FLUSH_AT)
)
steps = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["send", "event"]), st.lists(sizes, max_size=12)),
        st.tuples(st.just("turn"), st.just([])),
        st.tuples(st.just("room"), st.lists(st.integers(0, 400) | st.integers(0, 2 * FLUSH_AT), min_size=1, max_size=5)),
        st.tuples(st.just("wait"), st.just([])),
        st.tuples(st.just("break"), st.just([])),
    ),
    max_size=20,
)


class Tls(Side):
    """A connection whose transport takes bytes by ``write`` alone, and says when it is full."""

    def __init__(self, **limits):
        super().__init__(transport=Full(), **limits)
        self.socket = self.transport
        self.transport.clear()

    @property
    def received(self):
        return self.transport.value()

    def turn(self):
        self.clock.advance(0)
        self.transport.take()

    def lose(self):
        self.protocol.dropConnection(abort=True)


class Full(Transport):
    """Is full when it was given more bytes at once than the next of the plan."""

    def __init__(self):
        super().__init__()
        self.plan, self.sends, self.is_full = [], [], False

    def write(self, data):
        super().write(data)
        self.sends.append(len(data))
        if self.producer is not None and self.plan and len(data) > self.plan.pop(0):
            self.is_full = True
            self.producer.pauseProducing()

    def take(self):
        if self.is_full and self.producer is not None:
            self.is_full = False
            self.producer.resumeProducing()


def act(wired, action, wanted, together):
    protocol = wired.protocol
    payloads = [(b"%d:%d" % (number, size)).ljust(size, b".")[:size] for number, size in enumerate(wanted)]
    parts = [(payload[: len(payload) // 3], payload[len(payload) // 3 :]) for payload in payloads]
    if action == "send":
        if together:
            protocol.send_many(payloads)
        else:
            for payload in payloads:
                protocol.send(payload)
    elif action == "event":
        if together:
            protocol.send_events(parts)
        else:
            for prefix, body in parts:
                protocol.send_event(prefix, body)
    elif action == "turn":
        wired.turn()
    elif action == "room":
        wired.socket.plan += wanted
    elif action == "wait":
        protocol.factory.clock.advance(BURST_SECONDS + 1)
    else:
        wired.lose()


def state(wired):
    """Everything by which a connection goes on."""
    protocol = wired.protocol
    return {
        "received": wired.received,
        "portions": wired.socket.sends,
        "state": protocol.state,
        "queue": b"".join(protocol._queue),
        "queued": protocol.queued,
        "excused": protocol._excused,
        "congested": (protocol.congested, protocol.congested_since),
        "counted": protocol.factory.budget.total,
        "ended": protocol.factory.metrics.ends,
        "sent": wired.traffic.octets_sent,
        "drained": wired.session.drained,
    }


def compare(kind, steps, limit):
    one_by_one, together = (kind(output_queue=limit) for _ in range(2))
    for action, wanted in steps:
        act(one_by_one, action, wanted, together=False)
        act(together, action, wanted, together=True)
        assert state(together) == state(one_by_one)


LIMITS = st.sampled_from([0, 100, 20_000])


@given(steps, LIMITS)
@example([("room", [1000, 0]), ("event", [500, FLUSH_AT, 10, 3, 4]), ("turn", []), ("wait", []), ("event", [5, 70, 5])], 100)
@example([("room", [1000, 0]), ("event", [FLUSH_AT, 1, 300, 1500, 5])], 100)
def test_together_is_the_same_as_one_by_one(steps, limit):
    compare(Wired, steps, limit)


@given(steps, LIMITS)
def test_together_is_the_same_as_one_by_one_without_a_socket(steps, limit):
    compare(Tls, steps, limit)


def test_what_is_handed_over_together_leaves_in_portions():
    wired = Wired()
    wired.protocol.send_events([(b"{", b"x" * 999)] * 100)
    assert len(wired.socket.sends) == 100 * 1004 // FLUSH_AT
    assert max(wired.socket.sends) < FLUSH_AT + 1004


def test_a_client_that_does_not_read_is_ended_in_the_middle():
    wired = Wired(output_queue=2000)
    wired.socket.plan[:] = [0] * 10
    wired.protocol.send_events([(b"{", b"x" * 999)] * 200)
    assert wired.protocol.factory.metrics.ends["queue_full"] == 1
    wired.protocol.send_events([(b"{", b"too late}")])
    wired.drain()
    assert wired.received.endswith(frame((1008).to_bytes(2, "big") + b"too slow", CLOSE, masked=False))


def test_nothing_to_send_sends_nothing():
    wired = Wired()
    wired.protocol.send_many([])
    wired.protocol.send_events([])
    wired.turn()
    assert wired.received == b""

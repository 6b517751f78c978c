"""What a client sends, in its order: one packet after the other, and none before what the one before it has begun is done."""

from __future__ import annotations

from collections import deque
from collections.abc import Coroutine, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from dhtwisted.core.addresses import limit_key
from dhtwisted.core.coroutines import run
from dhtwisted.core.request_deadlines import PATIENCE
from dhtwisted.core.throttle import RateLimit
from dhtwisted.errors import InvalidPacket
from dhtwisted.fronts.mqtt import acknowledging, publishing
from dhtwisted.fronts.mqtt.message import OVERHEAD
from dhtwisted.fronts.mqtt.sending import PacketSender
from dhtwisted.fronts.mqtt.small_maps import UNUSED
from dhtwisted.fronts.queues import EMPTY, append
from dhtwisted.kit.current_client import run_for_client
from dhtwisted.wire.mqtt.packets import Connect, Packet, Puback, Pubcomp, Publish, Pubrec, Subscribe, Unsubscribe
from dhtwisted.wire.mqtt.reasons import ReasonCode

if TYPE_CHECKING:
    from dhtwisted.core.access import Principal
    from dhtwisted.fronts.mqtt.broker import MqttBroker
    from dhtwisted.fronts.mqtt.interfaces import IMqttOutput

ANY_NUMBER = 65_535
GONE = "the client has gone without DISCONNECT"
TOO_SLOW = f"the server has not done what a packet asks for within {PATIENCE} s"
LOST = object()
"""Stands for the end of the connection behind the packets that came before it."""

ACKNOWLEDGEMENTS = frozenset({Puback, Pubrec, Pubcomp})

RATED = (Publish, Subscribe, Unsubscribe)
"""The packets that count for ``limits.requests_per_second``."""


class PacketReceiver(PacketSender):
    """The receiving half of a connection.

    :ivar principal: who the client is; ``None`` for nobody.
    :ivar receiving: packet ids of publishes with QoS 2 that this connection has begun and not completed.
    :ivar most_receiving: how many publishes the client may have under way.
    :ivar waiting: publishes that are under way; ``None`` for none, or another packet.
    :ivar epoch: of users and tokens, when the client's identity was looked at.
    :ivar is_accepted: whether CONNACK has left without an error.
    :ivar is_over: whether nothing more is received or sent.
    :cvar handlers: what a client may send besides PUBLISH -> what handles it.
    """

    log = Logger()
    handlers: ClassVar[Mapping[Any, Any]] = {}
    broker: MqttBroker

    __slots__ = (
        "_due",
        "_heard_at",
        "_held",
        "_held_size",
        "_is_lost",
        "_is_paused",
        "_is_taking",
        "_rate",
        "_rate_timer",
        "_settled",
        "_work",
        "epoch",
        "is_accepted",
        "is_over",
        "most_receiving",
        "principal",
        "receiving",
        "waiting",
    )

    def __init__(self, broker: MqttBroker, output: IMqttOutput) -> None:
        super().__init__(broker, output)
        self.principal: Principal | None = None
        self._heard_at = broker.second
        self.receiving: dict[int, None] = UNUSED
        self.most_receiving = ANY_NUMBER
        self.epoch = broker.entities.users_epoch
        self._work: Coroutine[Any, Any, Any] | None = None
        self._due = 0
        self.waiting: publishing.Batch | None = None
        self.is_accepted = self.is_over = self._is_lost = self._is_paused = self._is_taking = False
        self._held: deque[Any] = EMPTY
        self._held_size = 0
        self._settled: Any = EMPTY
        per_second = broker.server.settings.limits.requests_per_second
        self._rate = RateLimit(broker.clock, per_second) if per_second else None
        self._rate_timer: Any = None

    def receive(self, packets: Sequence[Packet | InvalidPacket]) -> None:
        """Take the packets of one read."""
        self._heard_at = self.broker.second
        if self._work is not None or self._held or self._is_taking or self._is_blocked():
            self._hold(packets)
        else:
            self._take(packets)
            if self._held:
                self._go_on()

    def note_receiving(self, packet_id: int) -> None:
        """A publish with QoS 2 has begun on this connection."""
        if self.receiving is UNUSED:
            self.receiving = {}
        self.receiving[packet_id] = None

    def malformed(self, error: InvalidPacket) -> None:
        """End the connection, since the decoder found what is no packet. What came before it is handled first."""
        self.receive((*error.packets, error))

    # What came

    def _is_blocked(self) -> bool:
        """Whether the next packet has to wait: the client does not read its answers, sends too many, or the memory of all is used up."""
        return self.output.congested or self.broker.server.budget.is_used_up or self._rate_timer is not None

    def _take(self, packets: Sequence[Any]) -> None:
        """Handle packets in their order, up to one that has to wait; keep the others."""
        at = 0
        if self.epoch != self.broker.entities.users_epoch:
            self.check_identity()
        self._is_taking = True
        try:
            at = self._take_some(packets)
        except InvalidPacket as error:
            self.end(error.reason_code, error.text, version=error.version)
        except Exception:
            self._broken(None)
        finally:
            self._is_taking = False
        if at < len(packets):
            self._hold(packets[at:])

    def _take_some(self, packets: Sequence[Any]) -> int:
        """:returns: how many need nothing more."""
        at, count = 0, len(packets)
        while at < count and not self.is_over:
            kind = type(packets[at])
            if kind is Puback and self.session is not None:
                # What subscribers send most.
                first = at
                while at < count and type(packets[at]) is Puback:
                    at += 1
                acknowledging.pubacks(self, packets[first:at])
                continue
            if self._rate is not None and kind in RATED and not self._admit():
                return at
            first = at
            at += 1
            if kind is Publish and self.session is not None:
                while at < count and type(packets[at]) is Publish and self._rate is None:
                    at += 1
                work = publishing.receive(self, packets[first:at])
            else:
                work = self._handle(kind, packets[first])
            if work is not None:
                self._begin(work)
                if self._work is not None:
                    return at
        return at

    def _admit(self) -> bool:
        """Count a packet for the rate of the client; if it sends too many, wait."""
        rate = self._rate
        assert rate is not None  # The caller has looked.
        if rate.take() or self._is_lost:
            return True
        self._rate_timer = self.broker.clock.callLater(rate.delay, self._rate_passed)
        return False

    def _rate_passed(self) -> None:
        self._rate_timer = None
        self._go_on()

    def _handle(self, kind: Any, packet: Any) -> Coroutine[Any, Any, Any] | None:
        if packet is LOST:
            self.leave(why=GONE)
            return None
        if kind is InvalidPacket:
            raise packet
        self.broker.counters.received[kind] += 1
        if self.session is None and kind is not Connect:
            raise InvalidPacket(ReasonCode.PROTOCOL_ERROR, "the first packet of a connection must be CONNECT")
        handler = self.handlers.get(kind)
        if handler is None:
            raise InvalidPacket(ReasonCode.PROTOCOL_ERROR, f"a client must not send {kind.__name__.upper()}")
        return handler(self, packet)

    def _begin(self, work: Coroutine[Any, Any, Any]) -> None:
        self._work = work
        run_for_client(self.client, run, work, partial(self._finished, work))
        if self._work is work:
            deadlines = self.broker.server.deadlines
            # One sweep later than the deadlines of what it waits for, which say better what has failed.
            self._due = deadlines.due() + 1
            deadlines.watch(self)

    @property
    def is_busy(self) -> bool:
        """Whether a packet is under way that has to wait."""
        return self._work is not None

    def answer_due(self, sweep: int) -> bool:
        """See :meth:`Deadlines.watch() <dhtwisted.core.request_deadlines.Deadlines.watch>`.

        What is under way goes on, since it may be stored already. A client that can be told so hears that it was too slow. Any other is
        disconnected, and its next connection waits for the end: what it sends again with QoS 2 is not stored again.
        """
        if self._work is None or self.is_over:
            return False
        if self._due > sweep:
            return True
        if self.waiting is not None and self.is_v5:
            self._work = None
            late, self.waiting = self.waiting, None
            publishing.expire(self, late)
            self._go_on()
        else:
            self.end(ReasonCode.SERVER_BUSY if self.is_accepted else ReasonCode.SERVER_UNAVAILABLE, TOO_SLOW)
        return False

    @property
    def client(self) -> int | str:
        """Whom the server works for, where clients are served in turn."""
        return limit_key(self.output.address) if self.principal is None else self.principal.user_id

    def _finished(self, work: Any, _: Any, error: BaseException | None) -> None:
        if self._work is work:
            self._work = self.waiting = None
        if isinstance(error, InvalidPacket):
            self.end(error.reason_code, error.text, version=error.version)
        elif error is not None:
            self._broken(Failure(error))
        self._go_on()

    def _broken(self, failure: Failure | None) -> None:
        """End the connection after an unexpected error, which must not affect others."""
        self.log.failure("a packet broke the connection", failure=failure, **self.identity())
        self.end(ReasonCode.UNSPECIFIED_ERROR, "internal error")

    # What waits

    def _hold(self, packets: Sequence[Any]) -> None:
        """Keep packets until those before them are done. Acknowledgements wait for nothing, since others may wait for them."""
        size = 0
        for packet in packets:
            kind = type(packet)
            if self.is_over:
                break
            if kind in ACKNOWLEDGEMENTS and self.session is not None and not self._is_taking:
                self._take((packet,))
                continue
            self._held = append(self._held, packet)
            size += OVERHEAD + (len(packet.payload) if kind is Publish else 0)
        if self._held:
            self._held_size += size
            self.output.account.add(size)
            self._wait_for_room()

    def _wait_for_room(self) -> None:
        if not self._is_paused:
            self._is_paused = True
            self.output.pause()
        if self._work is None and self.broker.server.budget.is_used_up:
            self.broker.server.budget.wait(self._go_on)

    def _go_on(self) -> None:
        """Handle what was held, as far as possible now."""
        while self._held and self._work is None and not self._is_taking:
            if self._is_blocked() and not self._is_lost:
                self._wait_for_room()
                return
            packets, self._held = list(self._held), EMPTY
            self.output.account.remove(self._held_size)
            self._held_size = 0
            self._take(packets)
        if not self._held and self._is_paused:
            self._is_paused = False
            if not self.is_over:
                self.output.resume()
        if self._settled and self._work is None and not self._held:
            settled, self._settled = self._settled, EMPTY
            for one in settled:
                one.callback(None)

    async def settled(self) -> None:
        """Wait until nothing of this connection is under way."""
        while self._work is not None or self._held:
            waiting: Deferred[None] = Deferred()
            self._settled = append(self._settled, waiting)
            await waiting

    def _end_receiving(self) -> None:
        """Forget what was held: nothing more is received."""
        if self._rate_timer is not None:
            self._rate_timer.cancel()
            self._rate_timer = None
        self.output.account.remove(self._held_size)
        self._held, self._held_size = EMPTY, 0

    def identity(self) -> dict[str, Any]:
        """Fields that identify the connection in a log line."""
        user = {} if self.principal is None else {"user": self.principal.user_id}
        client = {} if self.session is None else {"client": self.session.client_id}
        return {"connection": self.output.number, "address": self.output.address} | user | client

    # What the connection adds

    def check_identity(self) -> None:
        """Look again who the client is, and what it may hear."""
        raise NotImplementedError

    def end(self, reason_code: int, text: str, *, version: int | None = None) -> None:
        """End the connection from our side."""
        raise NotImplementedError

    def leave(self, sends_will: bool = True, why: str = "") -> None:
        """Nothing more is received or sent."""
        raise NotImplementedError

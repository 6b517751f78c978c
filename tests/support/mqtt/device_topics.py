"""Topics of DeviceHive for tests: what the machine of MQTT hands to them is noted, and a test says what becomes of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from dhtwisted.fronts.mqtt.interfaces import IDeviceSession, IDeviceTopics, Outcome, Refusal
from dhtwisted.fronts.mqtt.message import Message
from dhtwisted.wire.mqtt.packets import Publish, Subscription


@implementer(IDeviceTopics)
class DeviceTopics:
    """:ivar mapped: topics that are mapped.
    :ivar refusals: topics, filters -> why they are refused.
    :ivar is_slow: whether answers wait for :meth:`release`.
    :ivar sessions: all that were begun.
    """

    def __init__(self) -> None:
        self.mapped: set[str] = set()
        self.refusals: dict[str, Refusal] = {}
        self.is_slow = False
        self.sessions: list[DeviceSession] = []
        self._waiting: list[tuple[Deferred[Any], Any]] = []

    def takes(self, topic: str) -> bool:
        return topic in self.mapped

    def takes_filter(self, filter: str) -> bool:
        return filter in self.mapped or filter.split("/")[0] in ("+", "#")

    def begin(self, session: Any, state: bytes) -> DeviceSession:
        self.sessions.append(DeviceSession(self, session))
        return self.sessions[-1]

    def answer(self, value: Any) -> Any:
        if not self.is_slow:
            return value
        waiting: Deferred[Any] = Deferred()
        self._waiting.append((waiting, value))
        return waiting

    def release(self) -> None:
        """Give the answers that wait."""
        waiting, self._waiting = self._waiting, []
        for deferred, value in waiting:
            deferred.callback(value)


@implementer(IDeviceSession)
class DeviceSession:
    """:ivar calls: what was called, with its arguments."""

    def __init__(self, topics: DeviceTopics, session: Any) -> None:
        self.topics, self.session = topics, session
        self.calls: list[tuple[Any, ...]] = []

    def connected(self, is_present: bool) -> None:
        self.calls.append(("connected", is_present))

    def disconnected(self) -> None:
        self.calls.append(("disconnected",))

    def ended(self) -> None:
        self.calls.append(("ended",))

    def state(self) -> bytes:
        return b""

    def publish(self, messages: Sequence[Message | Publish], packet_ids: Sequence[int] = ()) -> Any:
        self.calls.append(("publish", [(message.topic, message.payload) for message in messages]))
        outcomes: list[Outcome] = [self.topics.refusals.get(message.topic) for message in messages]
        return self.topics.answer(outcomes)

    async def may_have(self, messages: Sequence[Any]) -> list[bool]:
        return [True for _ in messages]

    async def recall(self, record: Any) -> Any:
        return None

    def subscribe(self, subscriptions: Sequence[Subscription], identifier: int) -> Any:
        self.calls.append(("subscribe", [(one.filter, one.qos) for one in subscriptions], identifier))
        return self.topics.answer([self.topics.refusals.get(one.filter, one.qos) for one in subscriptions])

    def unsubscribe(self, filters: Sequence[str]) -> Any:
        self.calls.append(("unsubscribe", list(filters)))
        return self.topics.answer([True for _ in filters])

    def acknowledged(self, tokens: Sequence[Any]) -> None:
        self.calls += [("acknowledged", token) for token in tokens]

    def writable(self) -> None:
        self.calls.append(("writable",))

    def refused(self, message: Message | Publish, refusal: Refusal) -> None:
        self.calls.append(("refused", message.topic, refusal.reason_code))

    def taken(self) -> list[tuple[Any, ...]]:
        """What was called since the last time."""
        calls, self.calls = self.calls, []
        return calls

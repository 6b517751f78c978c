"""The retained messages of plain topics."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from dhtwisted.fronts.mqtt.interfaces import Refusal
from dhtwisted.fronts.mqtt.message import OVERHEAD, Message
from dhtwisted.fronts.mqtt.retained_tree import RetainedTree
from dhtwisted.model.mqtt import LONGEST_NAME
from dhtwisted.wire.mqtt.reasons import ReasonCode

if TYPE_CHECKING:
    from dhtwisted.config.mqtt import MqttSettings

FULL = Refusal(ReasonCode.QUOTA_EXCEEDED, "there are too many retained messages (mqtt.retained_messages, mqtt.retained_bytes)")
TOO_LONG = Refusal(ReasonCode.TOPIC_NAME_INVALID, f"the topic of a retained message has at most {LONGEST_NAME} bytes")


class Retained:
    """Retained messages, within their bounds.

    :param settings: gives the present ``[mqtt]`` section.
    :param now: gives seconds of the clock.
    :ivar size: their bytes.
    """

    def __init__(self, settings: Callable[[], MqttSettings], now: Callable[[], float]) -> None:
        self._settings = settings
        self._now = now
        self._tree: RetainedTree[Message] = RetainedTree()
        self.size = 0

    def __len__(self) -> int:
        return len(self._tree)

    def check(self, message: Message) -> Refusal | None:
        """Whether a message may be kept in place of the one of its topic. One without a payload deletes."""
        if not message.payload:
            return None
        if len(message.topic.encode()) > LONGEST_NAME:
            return TOO_LONG
        settings, before = self._settings(), self._tree.get(message.topic)
        size = self.size + _size(message) - (0 if before is None else _size(before))
        is_many = before is None and 0 < settings.retained_messages <= len(self)
        return FULL if is_many or 0 < settings.retained_bytes < size else None

    def put(self, message: Message) -> None:
        """Keep a message, or delete the one of its topic ([MQTT-3.3.1-5], [MQTT-3.3.1-6], [MQTT-3.3.1-7])."""
        before = self._tree.put(message.topic, message) if message.payload else self._tree.discard(message.topic)
        self.size += (_size(message) if message.payload else 0) - (0 if before is None else _size(before))

    def find(self, levels: Sequence[str]) -> Iterator[Message]:
        """The messages of all topics that a filter matches, without those whose lifetime is over."""
        now = self._now()
        for message in self._tree.find(levels):
            if not message.expires or message.expires > now:
                yield message

    def expired(self) -> list[str]:
        """The topics of messages whose lifetime is over. It looks at all of them."""
        now = self._now()
        return [message.topic for message in self._tree.find(("#",)) if 0 < message.expires <= now]

    def discard(self, topic: str) -> None:
        """Forget the message of a topic."""
        before = self._tree.discard(topic)
        self.size -= 0 if before is None else _size(before)


def _size(message: Message) -> int:
    return len(message.topic) + len(message.payload) + OVERHEAD

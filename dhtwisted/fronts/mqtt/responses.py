"""Answers of the server on ``dh/response/ACTION@CLIENT``: the client that asked gets them, and nobody else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec import Struct

from dhtwisted.fronts.mqtt.event_topics import OWNER, RESPONSE
from dhtwisted.fronts.mqtt.filters import can_own, matches
from dhtwisted.fronts.mqtt.message import Message
from dhtwisted.fronts.mqtt.small_maps import UNUSED
from dhtwisted.wire.mqtt.packets import Properties
from dhtwisted.wire.mqtt.topics import check_topic

if TYPE_CHECKING:
    from dhtwisted.fronts.mqtt.session import ClientSession

ERROR = "error"
"""Stands for the action of an answer to what names none."""


class _Filter(Struct):
    levels: list[str]
    qos: int
    identifier: int


class Responses:
    """The filters of a client that match its topics of answers."""

    __slots__ = ("_filters", "_session")

    def __init__(self, session: ClientSession) -> None:
        self._session = session
        self._filters: dict[str, _Filter] = UNUSED

    def put(self, text: str, qos: int, identifier: int) -> None:
        """Begin or replace a filter."""
        if self._filters is UNUSED:
            self._filters = {}
        self._filters[text] = _Filter(text.split("/"), qos, identifier)

    def remove(self, text: str) -> None:
        """End a filter."""
        self._filters.pop(text, None)

    def clear(self) -> None:
        """End all filters."""
        self._filters.clear()

    def options(self, text: str) -> tuple[int, int]:
        """The QoS of a filter and its subscription identifier."""
        found = self._filters.get(text)
        return (0, 0) if found is None else (found.qos, found.identifier)

    def topic(self, action: str) -> str:
        """The topic of the answers to an action."""
        topic = f"{RESPONSE}{action}{OWNER}{self._session.client_id}"
        try:
            check_topic(topic)
        except ValueError:
            # The client made the action up.
            return f"{RESPONSE}{ERROR}{OWNER}{self._session.client_id}"
        return topic

    def is_own(self, topic: str) -> bool:
        """Whether a topic is one of answers to this client."""
        return topic.startswith(RESPONSE) and topic.partition(OWNER)[2] == self._session.client_id

    def send(self, action: str, payload: bytes, topic: str | None = None, correlation: bytes | None = None) -> None:
        """Send an answer, if the client has subscribed to its topic. It comes with QoS 0 if the client has no room for more.

        :param topic: another one of :meth:`is_own`.
        :param correlation: the correlation data of the request.
        """
        if not self._filters or not can_own(self._session.client_id):
            return
        topic = topic or self.topic(action)
        found = [one for one in self._filters.values() if matches(one.levels, topic)]
        if not found:
            return
        qos = max(one.qos for one in found)
        properties = None if correlation is None else Properties(correlation_data=correlation)
        message = Message(topic, payload, qos, properties=properties)
        identifiers = tuple(dict.fromkeys(one.identifier for one in found if one.identifier))
        if not (qos and self._session.deliver(message, qos, False, identifiers)):
            self._session.deliver(message, 0, False, identifiers)

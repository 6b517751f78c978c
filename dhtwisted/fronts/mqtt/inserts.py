"""Publishes of a client below ``dh/`` and on mapped topics: stored as the inserts and updates of any other front.

The publishes of one read are done together, as far as they have a usual form: one append, one call of the bus. One that is unusual in any
way is done alone, in its turn, and nothing behind it begins before it is done: so messages keep their order also when a device must be read
or created first.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred

from dhtwisted.actions import ACTIONS
from dhtwisted.actions.device import DeviceFields, DeviceSave
from dhtwisted.actions.lookups import accessible_device
from dhtwisted.core.batches import Batch
from dhtwisted.core.server import Request
from dhtwisted.errors import ApiError, StorageError
from dhtwisted.fronts.batches import ACTIONS_BY_FIELDS, LARGEST_BATCH, gather
from dhtwisted.fronts.mqtt.event_publishes import read_event, read_mapped
from dhtwisted.fronts.mqtt.event_topics import REQUEST, EventTopic
from dhtwisted.fronts.mqtt.interfaces import Outcome, Refusal
from dhtwisted.fronts.mqtt.mappings import MappedTopic
from dhtwisted.fronts.mqtt.message import Message
from dhtwisted.fronts.mqtt.refusals import NOBODY, refusal_of
from dhtwisted.model import Device, MqttReceived
from dhtwisted.model import Message as StoredMessage
from dhtwisted.wire.mqtt.packets import Publish
from dhtwisted.wire.mqtt.reasons import ReasonCode
from dhtwisted.wire.mqtt.topics import DEVICEHIVE

if TYPE_CHECKING:
    from dhtwisted.wire.fields import Fields

SAVE = ACTIONS["device/save"]

NOT_TEXT = Refusal(ReasonCode.PAYLOAD_FORMAT_INVALID, "a request is a JSON object in UTF-8")
NOT_MAPPED = Refusal(ReasonCode.TOPIC_NAME_INVALID, "the topic is not mapped any more")
LATE = Refusal(ReasonCode.UNSPECIFIED_ERROR, "those before it took too long; send the message again later", is_temporary=True)
OTHER_PLACE = Refusal(ReasonCode.TOPIC_NAME_INVALID, "the device is not in this network, or not of this type; the levels may be empty")


class Publishes:
    """The publishes of one client."""

    __slots__ = ("_session", "_topics")

    def __init__(self, session: Any, topics: Any) -> None:
        self._session = session
        self._topics = topics

    def publish(self, messages: Sequence[Message | Publish], packet_ids: Sequence[int] = ()) -> list[Outcome] | Awaitable[list[Outcome]]:
        """See :meth:`IDeviceSession.publish <dhtwisted.fronts.mqtt.interfaces.IDeviceSession.publish>`."""
        run = _Run(self._session, self._topics, messages, packet_ids)
        run.go_on()
        if run.place < len(messages):
            return run.finish()
        return run.outcomes if not run.left else run.wait()


class _Run:
    """The publishes of one read.

    :ivar outcomes: what became of each.
    :ivar place: the first that has not begun.
    :ivar left: how many have begun and are not done.
    """

    __slots__ = ("_begun", "_messages", "_packet_ids", "_server", "_session", "_topics", "_waiting", "left", "outcomes", "place")

    def __init__(self, session: Any, topics: Any, messages: Sequence[Message | Publish], packet_ids: Sequence[int]) -> None:
        self._session = session
        self._topics = topics
        self._server = topics.server
        self._messages = messages
        self._packet_ids = packet_ids if topics.bulk is not None else ()
        self.outcomes: list[Outcome] = [None] * len(messages)
        self.place = self.left = 0
        self._begun: list[tuple[int, Sequence[Fields]]] = []
        self._waiting: Deferred[None] | None = None

    def go_on(self) -> None:
        """Begin as many as possible without waiting, together."""
        principal = self._session.principal
        if principal is None or self._server.trace is not None:
            return
        read, messages = self._topics.read_topic, self._messages
        depth = self._server.settings.limits.json_depth
        while self.place < len(messages):
            requests: list[Any] = []
            found: list[EventTopic | None] = []
            text, topic = "", None
            for message in messages[self.place : self.place + LARGEST_BATCH]:
                if message.topic != text:
                    text = message.topic
                    topic = read(text) if text.startswith(DEVICEHIVE) else None
                fields: Any = topic
                if type(topic) is EventTopic:
                    fields = read_event(topic, message.payload, depth)
                elif topic is None:
                    fields = self._read_mapped(message, depth)
                if type(fields) is Refusal:
                    break
                requests.append(fields)
                found.append(topic)  # type: ignore[arg-type]  # It is no refusal here.
            if not requests or not self._begin_together(found, requests):
                return

    def _read_mapped(self, message: Message | Publish, depth: int) -> Fields | Refusal:
        mapped = self._topics.mappings.find(message.topic)
        return NOT_MAPPED if mapped is None else read_mapped(mapped, message.payload, depth)

    def _begin_together(self, topics: Sequence[EventTopic | None], requests: list[Any]) -> bool:
        """Begin the first of some requests together.

        :returns: whether at least one has begun.
        """
        principal = self._session.principal
        assert principal is not None  # go_on() has looked.
        batch = Batch(self._server, self._session, self, principal)
        gather(batch, requests)
        count = self._fitting(topics, batch)
        if not count:
            return False
        batch.texts = [message.payload for message in self._messages[self.place : self.place + count]]
        batch.fields = requests[:count]
        if not batch.reserve():
            return False
        if self._packet_ids:
            ids = self._packet_ids[self.place : self.place + count]
            numbers = {id(message): number for message, number in zip(batch.messages, ids, strict=True)}
            batch.append = lambda messages: self._append([numbers.get(id(message), 0) for message in messages], messages)
        self._begun.append((self.place, batch.fields))
        self.place += count
        self.left += count
        batch.execute()
        return True

    def _append(self, packet_ids: Sequence[int], messages: Sequence[StoredMessage]) -> Awaitable[None]:
        """Store messages together with the packet ids of those with QoS 2: after a crash, the client sends them again, and they are not
        stored again.

        :param packet_ids: 0 for others.
        """
        key = self._session.session.record_key
        received = [MqttReceived.of(key, number) for number in packet_ids if number]
        stored: Awaitable[None] = self._topics.bulk.change_many(received, (), messages)
        return stored

    def _fitting(self, topics: Sequence[EventTopic | None], batch: Batch) -> int:
        """How many requests of a batch name the place where their device is, or none; the others are taken out."""
        count = batch.count
        last = None
        for place, topic in enumerate(topics[:count]):
            if topic is last:
                continue
            last = topic
            if topic is not None and (topic.network_id is not None or topic.device_type_id is not None):
                device = self._server.entities.device(topic.device_id)
                if device is None or not _is_at(topic, device):
                    del batch.messages[place:], batch.actions[place:]
                    return place
        return count

    async def finish(self) -> list[Outcome]:
        """Do those that need to wait, each alone, and the others together."""
        deadlines = self._server.deadlines
        due = deadlines.due() + 1
        while self.place < len(self._messages):
            if self.left:
                await self._all_done()
            if deadlines.sweeps >= due:
                # The client has got its answers, or was disconnected: what has not begun never begins.
                self.outcomes[self.place :] = [LATE] * (len(self._messages) - self.place)
                break
            place = self.place
            if await self._has_read_device(self._messages[place]):
                self.go_on()
            if self.place == place:
                packet_id = self._packet_ids[place] if self._packet_ids else 0
                self.outcomes[place] = await self._do_alone(self._messages[place], packet_id)
                self.place = place + 1
                self.go_on()
        return await self.wait()

    async def _has_read_device(self, message: Message | Publish) -> bool:
        """Read the device of a publish on a topic of events, if it is not cached.

        :returns: whether it was read.
        """
        topic = self._topics.read_topic(message.topic) if message.topic.startswith(DEVICEHIVE) else None
        if (
            not isinstance(topic, EventTopic)
            or self._session.principal is None
            or self._server.entities.device(topic.device_id) is not None
        ):
            return False
        return await self._is_missing(topic.device_id) is False

    async def _is_missing(self, device_id: str) -> bool | None:
        """Whether there is no such device; ``None`` if the storage does not answer: whoever needs the device reads it again."""
        try:
            return await self._server.entities.get(Device, device_id) is None
        except StorageError:
            return None

    async def wait(self) -> list[Outcome]:
        """Wait until all are done."""
        if self.left:
            await self._all_done()
        return self.outcomes

    async def _all_done(self) -> None:
        while self.left:
            self._waiting = Deferred()
            await self._waiting

    # One alone

    async def _do_alone(self, message: Message | Publish, packet_id: int) -> Outcome:
        topic = message.topic
        if topic == REQUEST:
            return await self._request(message)
        if self._session.principal is None:
            return NOBODY
        depth = self._server.settings.limits.json_depth
        mapped = None
        if topic.startswith(DEVICEHIVE):
            found = self._topics.read_topic(topic)
            if isinstance(found, Refusal):
                return found
            fields = read_event(found, message.payload, depth)
        else:
            mapped = self._topics.mappings.find(topic)
            if mapped is None:
                return NOT_MAPPED
            found, fields = None, read_mapped(mapped, message.payload, depth)
        if isinstance(fields, Refusal):
            return fields
        if message.retain and not message.payload and mapped is not None and await self._is_missing(mapped.device_id):
            # A retained message is taken back, of a device that was renamed or removed. Nothing is to be created for that.
            return None
        refusal = await self._prepare(found, mapped)
        return refusal if refusal is not None else await self._execute(fields, len(message.payload), packet_id)

    async def _prepare(self, topic: EventTopic | None, mapped: MappedTopic | None) -> Refusal | None:
        """Have the device read, check that it is where the topic says, and create it if the mapping wants that."""
        try:
            if topic is not None and (topic.network_id is not None or topic.device_type_id is not None):
                fields: Any = DeviceSave(device_id=topic.device_id)
                request = Request(self._server, self._session, SAVE, fields, self._session.principal)
                if not _is_at(topic, await accessible_device(request, topic.device_id)):
                    return OTHER_PLACE
            if mapped is not None and mapped.mapping.create_devices:
                return await self._create(mapped)
        except (ApiError, StorageError) as error:
            return self._failed(error)
        return None

    async def _create(self, mapped: MappedTopic) -> Refusal | None:
        if await self._server.entities.get(Device, mapped.device_id) is not None:
            return None
        mapping = mapped.mapping
        device = DeviceFields(name=mapped.device_name, network_id=mapping.network_id or None, device_type_id=mapping.device_type_id or None)
        outcome: Refusal | None = await self._execute(DeviceSave(device_id=mapped.device_id, device=device), 0, 0)
        return outcome

    def _failed(self, error: Exception) -> Refusal:
        answer = self._server.client_error(error, "publish", self._session.output)
        return refusal_of(answer)

    async def _execute(self, fields: Fields, size: int, packet_id: int) -> Outcome:
        """Execute one request.

        :param packet_id: is stored with its message; 0 for none.
        """
        outcome: list[Outcome] = []
        waiting: list[Deferred[None]] = []

        def done(request: Request, members: Any, error: ApiError | None) -> None:
            outcome.append(None if error is None else refusal_of(error))
            if waiting:
                waiting[0].callback(None)

        action = ACTIONS_BY_FIELDS[type(fields)]
        request = Request(self._server, self._session, action, fields, self._session.principal, size)
        if packet_id:
            request.append = partial(self._append, (packet_id,))
        self._server.execute(request, done)
        if not outcome:
            waiting.append(Deferred())
            await waiting[0]
        return outcome[0]

    async def _request(self, message: Message | Publish) -> Outcome:
        try:
            message.payload.decode()
        except UnicodeDecodeError:
            return NOT_TEXT
        waiting = self._session.channel.request([message])
        if waiting is not None:
            await waiting
        return None

    # What a batch calls

    def batch_done(self, batch: Batch, errors: list[ApiError | None] | None) -> None:
        """See :class:`~dhtwisted.core.batches.Client`."""
        for fields, error in zip(batch.fields, errors or (), strict=False):
            if error is not None:
                self.outcomes[self._place_of(fields)] = refusal_of(error)
        self._done(batch.count)

    def done(self, request: Request, members: Any, error: ApiError | None) -> None:
        """See :class:`~dhtwisted.core.batches.Client`."""
        if error is not None:
            self.outcomes[self._place_of(request.fields)] = refusal_of(error)
        self._done(1)

    def _place_of(self, fields: Fields) -> int:
        """The place of the publish of a request. Only a failure asks for it."""
        return next(start + place for start, some in self._begun for place, one in enumerate(some) if one is fields)

    def put_in_order(self, request: Request | Batch) -> None:
        """Do nothing: the answers to all of them leave together."""

    def _done(self, count: int) -> None:
        self.left -= count
        if not self.left and self._waiting is not None:
            waiting, self._waiting = self._waiting, None
            waiting.callback(None)


def _is_at(topic: EventTopic, device: Device) -> bool:
    return topic.network_id in (None, device.network_id) and topic.device_type_id in (None, device.device_type_id)

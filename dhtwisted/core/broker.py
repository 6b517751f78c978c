"""Who gets which event: subscriptions, indexed so that the cost of a delivery follows who matches (WebSocket reference, section 4.2)."""

from __future__ import annotations

from dhtwisted.core.access import Permission
from dhtwisted.model import Command, Device, Event, Notification
from dhtwisted.wire.events import event_body, event_prefix

COMMAND_INSERT = "command/insert"
COMMAND_UPDATE = "command/update"
NOTIFICATION_INSERT = "notification/insert"
EVENT_KINDS = {COMMAND_INSERT: Command, COMMAND_UPDATE: Command, NOTIFICATION_INSERT: Notification}
"""What there are events of, and the kind of message of each."""

DEVICE_ADD, DEVICE_UPDATE = "$device-add", "$device-update"
SERVER_MADE = frozenset({DEVICE_ADD, DEVICE_UPDATE})
"""Names of the notifications that the server makes itself, when a device is saved."""

MAX_INSERTERS = 1_000_000
"""Commands of which it is known by which connection they came; about 150 bytes each."""

READ_PERMISSIONS = {Command: Permission.GET_DEVICE_COMMAND, Notification: Permission.GET_DEVICE_NOTIFICATION}

INDEXED = ("device_ids", "network_ids", "device_type_ids")
EVERYTHING = ("all", None)


class Subscription:
    """One subscription of one session.

    :param names_places: whether the client named devices, networks or types.
    :ivar action: the events that it wants: one of the three above.
    :ivar device_ids: given devices; networks and types do not narrow them. ``None`` when not given, like the next three.
    :ivar echo: the filter as the client gave it, for ``subscription/list``.
    :ivar principal: on whose behalf: of the request, which may have carried a token of its own, until the next ``authenticate``.
    :ivar is_filtered: whether it has filters besides its devices.
    :ivar wants_server_made: whether it takes notifications of :data:`SERVER_MADE` names, if its filters let them through. Who names
        devices, networks or types is not told, unless by ``names``: clients ask for messages of devices, stumble over others, and one that
        saves its device at each notification would never end (section 4.6).
    :ivar replay: takes the events while stored messages are still being sent; ``None`` when live.
    :ivar send: takes prefix and body of an event when nothing stands between this and the client; else ``None``, and the session decides.
    """

    __slots__ = (
        "action",
        "device_ids",
        "device_type_ids",
        "echo",
        "id",
        "is_filtered",
        "kind",
        "names",
        "network_ids",
        "prefix",
        "principal",
        "replay",
        "send",
        "session",
        "wants_server_made",
    )

    def __init__(
        self, session, principal, subscription_id, action, device_ids, network_ids, device_type_ids, names, names_places=True, echo=None
    ):
        self.session = session
        self.principal = principal
        self.id = subscription_id
        self.action = action
        self.kind = EVENT_KINDS[action]
        self.device_ids = device_ids
        self.network_ids = network_ids
        self.device_type_ids = device_type_ids
        self.names = names
        self.echo = echo
        self.prefix = event_prefix(action, subscription_id)
        self.replay = None
        self.send = None
        self.wants_server_made = names is not None or not names_places or self.kind is not Notification
        self.is_filtered = names is not None or (device_ids is None and (network_ids is not None or device_type_ids is not None))

    def matches(self, message, network_id, device_type_id):
        """Tell whether a message of a device that is now in this network and of this type is wanted, and still permitted."""
        if self.device_ids is not None and message.device_id not in self.device_ids:
            return False
        if not self.lets_through(message, network_id, device_type_id):
            return False
        return self.principal.receives((READ_PERMISSIONS[self.kind], network_id, device_type_id))

    def lets_through(self, message, network_id, device_type_id):
        """Tell whether its other filters want a message of a device that it names, if it names any."""
        if self.names is not None and message.name not in self.names:
            return False
        if not self.wants_server_made and message.name in SERVER_MADE:
            return False
        if self.device_ids is not None:
            return True
        return (self.network_ids is None or network_id in self.network_ids) and (
            self.device_type_ids is None or device_type_id in self.device_type_ids
        )

    @property
    def weight(self):
        """How many devices, networks, types and names it has; about 250 bytes each."""
        return sum(map(len, filter(None, (self.device_ids, self.network_ids, self.device_type_ids, self.names))))

    @property
    def names_devices(self):
        """Whether the client asked for devices; if not, its token permits only those of :attr:`device_ids`. Polls, which end soon, count as
        if it did.
        """
        echo = self.echo
        return echo is None or echo.device_id is not None or bool(echo.device_ids)

    @property
    def id_count(self):
        """How many devices, networks, types and names it names together."""
        return sum(map(len, filter(None, (self.device_ids, self.network_ids, self.device_type_ids, self.names))))

    def index_keys(self):
        """Where the broker files it: under its devices, else its networks, else its types, else under everything.

        :returns: a list of ``(field, value)``.
        """
        for field in INDEXED:
            values = getattr(self, field)
            if values is not None:
                return [(field, value) for value in values]
        return [EVERYTHING]


class Index:
    """The subscriptions to one sort of event, each in as many places as it names devices, networks or types.

    :param kind: of the messages.
    :ivar permission: what is needed to read them.
    :ivar wide: how many there are that do not name their devices.
    """

    __slots__ = ("by_device", "by_place", "permission", "wide")

    def __init__(self, kind):
        self.permission = READ_PERMISSIONS[kind]
        self.by_device = {}
        self.by_place = {}
        self.wide = 0

    def add(self, subscription):
        """File a subscription."""
        self.wide += subscription.device_ids is None
        for key in subscription.index_keys():
            entries, key = self._entries(key)
            entries.setdefault(key, {})[subscription.id] = subscription

    def remove(self, subscription):
        """Take it out."""
        self.wide -= subscription.device_ids is None
        for key in subscription.index_keys():
            entries, key = self._entries(key)
            found = entries.get(key, {})
            found.pop(subscription.id, None)
            if not found:
                entries.pop(key, None)

    def _entries(self, key):
        return (self.by_device, key[1]) if key[0] == "device_ids" else (self.by_place, key)

    def candidates(self, device):
        """Those that may want an event of a device; a new list, since a delivery may end a connection and with it its subscriptions."""
        entries = self.by_device.get(device.id)
        found = [] if entries is None else list(entries.values())
        if self.wide:
            for key in (("network_ids", device.network_id), ("device_type_ids", device.device_type_id), EVERYTHING):
                entries = self.by_place.get(key)
                if entries is not None:
                    found += entries.values()
        return found

    def __iter__(self):
        for entries in (*self.by_device.values(), *self.by_place.values()):
            yield from entries.values()


class Broker:
    """Hands each event to the sessions that are to have it.

    :param updates_to_inserter: whether ``command/update`` also goes to the connection that inserted the command (section 4.4).
    :ivar deliveries: how many there were: events, each times those that it was handed to.
    :ivar deliver: hands over an event: :meth:`deliver_now`, or :meth:`deliver_traced` while there is a ``trace``.
    :ivar trace: a :class:`~dhtwisted.logs.tracing.Trace`, or ``None``.
    """

    def __init__(self, updates_to_inserter):
        self._updates_to_inserter = updates_to_inserter
        self._indexes = {action: Index(kind) for action, kind in EVENT_KINDS.items()}
        self._inserters = {}
        self.deliveries = 0
        self.trace = None
        self.deliver = self.deliver_now

    def add(self, subscription):
        """Deliver to a subscription from the next event on."""
        self._indexes[subscription.action].add(subscription)

    def remove(self, subscription):
        """Deliver nothing more to a subscription."""
        self._indexes[subscription.action].remove(subscription)

    def drop_device(self, device_id):
        """End what subscriptions name of a device that was deleted; they stay listed, and a new device of this name is another one. Those
        that did not name it, since their callers have no other, go on with the new one.
        """
        for index in self._indexes.values():
            found = index.by_device.pop(device_id, {})
            kept = {key: subscription for key, subscription in found.items() if not subscription.names_devices}
            if kept:
                index.by_device[device_id] = kept

    def names_device(self, device_id):
        """Tell whether a subscription names this device."""
        return any(device_id in index.by_device for index in self._indexes.values())

    def named_devices(self):
        """The ids of all devices that subscriptions name, as a set."""
        return {device_id for index in self._indexes.values() for device_id in index.by_device}

    def remember_inserter(self, command_id, session):
        """Send the command's updates to this session, until :meth:`forget_inserter`, or very many were inserted later."""
        if self._updates_to_inserter:
            self._inserters[command_id] = session
            if len(self._inserters) > MAX_INSERTERS:
                del self._inserters[next(iter(self._inserters))]

    def forget_inserter(self, command_id):
        """Undo :meth:`remember_inserter`."""
        self._inserters.pop(command_id, None)

    def may_want(self, event: Event):
        """Tell whether anybody may want an event, wherever its device is."""
        message, index = event.message, self._indexes[event.action]
        return index.wide > 0 or message.device_id in index.by_device or (event.action == COMMAND_UPDATE and message.id in self._inserters)

    def deliver_traced(self, event: Event, device: Device):
        """Hand over an event, and write to whom. That is found out a second time: it must not cost those that nobody follows."""
        message, body = event.message, event_body(event.message)
        for subscription in self._indexes[event.action].candidates(device):
            is_live = subscription.replay is None  # A replay tells by itself what it sends.
            if is_live and subscription.matches(message, device.network_id, device.device_type_id):
                self.trace.event(subscription.session, subscription.principal, message, body, subscription.id)
        self.deliver_now(event, device)

    def deliver_now(self, event: Event, device: Device):
        """Hand over an event.

        :param device: of the message, as it is now.
        """
        message, action, index = event.message, event.action, self._indexes[event.action]
        place = index.permission, device.network_id, device.device_type_id
        inserter = self._inserters.get(message.id) if action == COMMAND_UPDATE else None
        body, server_made = None, message.name in SERVER_MADE
        if index.wide:
            candidates = index.candidates(device)
        else:
            # The same, without a call.
            entries = index.by_device.get(device.id)
            candidates = () if entries is None else list(entries.values())
        self.deliveries += len(candidates)
        for subscription in candidates:
            if (subscription.is_filtered or server_made) and not subscription.lets_through(
                message, device.network_id, device.device_type_id
            ):
                self.deliveries -= 1
                continue
            if not subscription.principal.receives(place):
                self.deliveries -= 1
                continue
            if body is None:
                body = event_body(message)
            if inserter is not None and subscription.session is inserter:
                inserter = None
            send = subscription.send
            if send is not None:
                send(subscription.prefix, body)
            else:
                subscription.session.deliver(subscription, message, body)
        if inserter is not None:
            self._deliver_to_inserter(inserter, message, place, body)

    def disconnect_all(self, reason):
        """Disconnect all subscribers, since they missed events. They connect again, and ask for the stored messages."""
        sessions = {subscription.session for index in self._indexes.values() for subscription in index}
        for session in sessions | set(self._inserters.values()):
            session.disconnect(reason)

    def _deliver_to_inserter(self, session, message, place, body):
        principal = session.principal
        # A command may have been inserted with another token than that of the connection.
        if principal is not None and principal.device_id in (None, message.device_id) and principal.receives(place):
            self.deliveries += 1
            body = body or event_body(message)
            if self.trace is not None:
                self.trace.event(session, principal, message, body, None)
            session.send_event(event_prefix(COMMAND_UPDATE, None), body)

"""Who gets which event: subscriptions, indexed so that the cost of a delivery follows who matches (WebSocket reference, section 4.2)."""

from __future__ import annotations

from collections import Counter, defaultdict

from dhtwisted.access import Permission
from dhtwisted.model import Command, Device, Event, Notification
from dhtwisted.resources import event_body, event_prefix

COMMAND_INSERT = "command/insert"
COMMAND_UPDATE = "command/update"
NOTIFICATION_INSERT = "notification/insert"
EVENT_KINDS = {COMMAND_INSERT: Command, COMMAND_UPDATE: Command, NOTIFICATION_INSERT: Notification}
"""What there are events of, and the kind of message of each."""

READ_PERMISSIONS = {Command: Permission.GET_DEVICE_COMMAND, Notification: Permission.GET_DEVICE_NOTIFICATION}


class Subscription:
    """One subscription of one session.

    :ivar action: the events that it wants: one of the three above.
    :ivar device_ids: given devices; networks and types do not narrow them. ``None`` when not given, like the next three.
    :ivar echo: the filter as the client gave it, for ``subscription/list``.
    :ivar principal: on whose behalf: of the request, which may have carried a token of its own, until the next ``authenticate``.
    :ivar replay: takes the events while stored messages are still being sent; ``None`` when live.
    """

    __slots__ = (
        "action",
        "device_ids",
        "device_type_ids",
        "echo",
        "id",
        "kind",
        "names",
        "network_ids",
        "prefix",
        "principal",
        "replay",
        "session",
    )

    def __init__(self, session, principal, subscription_id, action, device_ids, network_ids, device_type_ids, names, echo):
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

    def matches(self, message, network_id, device_type_id):
        """Tell whether a message of a device that is now in this network and of this type is wanted, and still permitted."""
        if self.names is not None and message.name not in self.names:
            return False
        if self.device_ids is not None:
            if message.device_id not in self.device_ids:
                return False
        elif (self.network_ids is not None and network_id not in self.network_ids) or (
            self.device_type_ids is not None and device_type_id not in self.device_type_ids
        ):
            return False
        principal = self.principal
        return principal.permits(READ_PERMISSIONS[self.kind]) and principal.sees(network_id, device_type_id)

    def index_keys(self):
        """Where the broker files it: under its devices, else its networks, else its types, else under everything."""
        for field in ("device_ids", "network_ids", "device_type_ids"):
            values = getattr(self, field)
            if values is not None:
                return [(self.action, field, value) for value in values]
        return [(self.action, "all", None)]


class Broker:
    """Hands each event to the sessions that are to have it.

    :param updates_to_inserter: whether ``command/update`` also goes to the connection that inserted the command (section 4.4).
    """

    def __init__(self, updates_to_inserter):
        self._updates_to_inserter = updates_to_inserter
        self._index = defaultdict(dict)
        self._wide = Counter()
        self._inserters = {}

    def add(self, subscription):
        """Deliver to a subscription from the next event on."""
        self._wide[subscription.action] += subscription.device_ids is None
        for key in subscription.index_keys():
            self._index[key][subscription.id] = subscription

    def remove(self, subscription):
        """Deliver nothing more to a subscription."""
        self._wide[subscription.action] -= subscription.device_ids is None
        for key in subscription.index_keys():
            entries = self._index.get(key)
            if entries is not None:
                entries.pop(subscription.id, None)
                if not entries:
                    del self._index[key]

    def drop_device(self, device_id):
        """End what subscriptions name of a device that was deleted; they stay listed, and a new device of this name is another one."""
        for action in EVENT_KINDS:
            self._index.pop((action, "device_ids", device_id), None)

    def names_device(self, device_id):
        """Tell whether a subscription names this device."""
        return any((action, "device_ids", device_id) in self._index for action in EVENT_KINDS)

    def named_devices(self):
        """The ids of all devices that subscriptions name, as a set."""
        return {value for _, field, value in self._index if field == "device_ids"}

    def remember_inserter(self, command_id, session):
        """Send the command's updates to this session, until :meth:`forget_inserter`."""
        if self._updates_to_inserter:
            self._inserters[command_id] = session

    def forget_inserter(self, command_id):
        """Undo :meth:`remember_inserter`."""
        self._inserters.pop(command_id, None)

    def may_want(self, event: Event):
        """Tell whether anybody may want an event, wherever its device is."""
        message, action = event.message, event.action
        return (
            self._wide[action] > 0
            or (action, "device_ids", message.device_id) in self._index
            or (action == COMMAND_UPDATE and message.id in self._inserters)
        )

    def deliver(self, event: Event, device: Device):
        """Hand over an event.

        :param device: of the message, as it is now.
        """
        message, action = event.message, event.action
        place = device.network_id, device.device_type_id
        body = None
        reached = set()
        for subscription in self._candidates(action, message.device_id, *place):
            if subscription.matches(message, *place):
                if body is None:
                    body = event_body(message)
                reached.add(subscription.session)
                subscription.session.deliver(subscription, message, body)
        if action == COMMAND_UPDATE and self._inserters:
            self._deliver_to_inserter(message, place, body, reached)

    def lose(self, reason):
        """Have the subscribers go, since they missed events; they come again and ask for what is stored."""
        sessions = {subscription.session for entries in self._index.values() for subscription in entries.values()}
        for session in sessions | set(self._inserters.values()):
            session.lose(reason)

    def _candidates(self, action, device_id, network_id, device_type_id):
        """A list, since a delivery may end a connection and with it its subscriptions."""
        found = []
        for key in (
            (action, "device_ids", device_id),
            (action, "network_ids", network_id),
            (action, "device_type_ids", device_type_id),
            (action, "all", None),
        ):
            entries = self._index.get(key)
            if entries:
                found.extend(entries.values())
        return found

    def _deliver_to_inserter(self, message, place, body, reached):
        session = self._inserters.get(message.id)
        if session is None or session in reached:
            return
        principal = session.principal
        if principal is not None and principal.permits(Permission.GET_DEVICE_COMMAND) and principal.sees(*place):
            session.send_event(event_prefix(COMMAND_UPDATE, None), body or event_body(message))

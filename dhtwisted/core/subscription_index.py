"""The subscriptions, indexed so that the cost of a delivery follows who matches, and not how many there are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dhtwisted.core.event_kinds import EventKind
from dhtwisted.core.subscription import Subscription
from dhtwisted.model import Device

BY_NETWORK, BY_TYPE, BY_NOTHING = "network", "type", ("all", None)
"""How :attr:`Index.by_place` files subscriptions that name no devices."""


class Index:
    """The subscriptions to one kind of event, each in as many places as it names devices, networks or types.

    :ivar permission: what is needed to read the messages.
    :ivar wide: how many subscriptions do not name their devices.
    :ivar by_device: device id -> subscription id -> subscription.
    :ivar by_place: the same for networks, types and the subscriptions that name neither.
    :ivar inserters: command id -> the session that gets its events of this kind without a subscription; empty where none does.
    """

    __slots__ = ("by_device", "by_place", "inserters", "permission", "wide")

    def __init__(self, kind: EventKind) -> None:
        self.permission = kind.permission
        self.by_device: dict[str, dict[int, Subscription]] = {}
        self.by_place: dict[tuple, dict[int, Subscription]] = {}
        self.wide = 0
        self.inserters: dict[int, Any] = {}

    def add(self, subscription: Subscription) -> None:
        """File a subscription."""
        self.wide += subscription.device_ids is None
        for entries, key in self._places_of(subscription):
            entries.setdefault(key, {})[subscription.id] = subscription

    def remove(self, subscription: Subscription) -> None:
        """Take a subscription out."""
        self.wide -= subscription.device_ids is None
        for entries, key in self._places_of(subscription):
            found = entries.get(key, {})
            found.pop(subscription.id, None)
            if not found:
                entries.pop(key, None)

    def _places_of(self, subscription: Subscription) -> Iterator[tuple[dict[Any, dict[int, Subscription]], Any]]:
        """Where a subscription is: under its devices, else its networks, else its types, else where every event is looked up."""
        if subscription.device_ids is not None:
            yield from ((self.by_device, device_id) for device_id in subscription.device_ids)
        elif subscription.network_ids is not None:
            yield from ((self.by_place, (BY_NETWORK, network_id)) for network_id in subscription.network_ids)
        elif subscription.device_type_ids is not None:
            yield from ((self.by_place, (BY_TYPE, type_id)) for type_id in subscription.device_type_ids)
        else:
            yield self.by_place, BY_NOTHING

    def candidates(self, device: Device) -> list[Subscription]:
        """The subscriptions that may want an event of a device. A new list, since a delivery may end a connection and its subscriptions."""
        entries = self.by_device.get(device.id)
        found = [] if entries is None else list(entries.values())
        if self.wide:
            found += self.wide_candidates(device)
        return found

    def wide_candidates(self, device: Device) -> list[Subscription]:
        """Those of them that do not name their devices."""
        found: list[Subscription] = []
        for key in ((BY_NETWORK, device.network_id), (BY_TYPE, device.device_type_id), BY_NOTHING):
            entries = self.by_place.get(key)
            if entries is not None:
                found += entries.values()
        return found

    def __iter__(self) -> Iterator[Subscription]:
        for entries in (*self.by_device.values(), *self.by_place.values()):
            yield from entries.values()

"""The pages of the reference, and the tags of the OpenAPI document: one for each resource of the API."""

from __future__ import annotations

from typing import NamedTuple

from dhtwisted.actions.table import Action


class Group(NamedTuple):
    """A page of the reference.

    :ivar name: of its file.
    :ivar prefixes: the names of its actions, up to the first slash.
    """

    name: str
    title: str
    description: str
    prefixes: tuple[str, ...]


POLLS = Group("polling", "Polling", "Waiting for messages over REST", ())

GROUPS = (
    Group("tokens", "Identity and tokens", "Who a client is, and what it may do", ("authenticate", "token")),
    Group("server", "Server", "About the server", ("server", "cluster", "info")),
    Group("devices", "Devices", "What sends notifications and receives commands", ("device",)),
    Group("commands", "Commands", "What devices shall do", ("command",)),
    Group("notifications", "Notifications", "What devices report", ("notification",)),
    Group("subscriptions", "Subscriptions", "Receiving messages over a WebSocket as they come", ("subscription",)),
    POLLS,
    Group("networks", "Networks", "Groups of devices; a user gets access to a network and its devices", ("network",)),
    Group("devicetypes", "Device types", "Kinds of devices; a user gets access to a device type and its devices", ("devicetype",)),
    Group("users", "Users", "Who may log in, and which networks and device types they may use", ("user",)),
    Group("configuration", "Configuration", "Named values that clients keep on the server", ("configuration",)),
)
SUBSCRIBING = frozenset({"subscribe", "unsubscribe"})


def group_of(action: Action) -> Group:
    """The group of an action.

    :raises LookupError: there is none yet; add it to :data:`GROUPS`.
    """
    if action.waits:
        return POLLS
    first, _, verb = action.name.partition("/")
    prefix = "subscription" if verb in SUBSCRIBING else first
    found = [group for group in GROUPS if prefix in group.prefixes]
    if not found:
        raise LookupError(f"no group of the reference has actions that begin with {prefix!r}")
    return found[0]

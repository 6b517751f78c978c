"""How the reference is divided: a page, and a tag, for each resource of the API."""

from __future__ import annotations

from collections import namedtuple

Group = namedtuple("Group", "name title description prefixes")
"""``prefixes``: what the names of its actions begin with, up to the first slash."""

POLLS = Group("polling", "Polling", "Waiting for messages over REST", ())

GROUPS = (
    Group("tokens", "Identity and tokens", "Who a client is, and what it may do", ("authenticate", "token")),
    Group("server", "Server", "About the server", ("server", "cluster", "info")),
    Group("devices", "Devices", "What sends notifications and receives commands", ("device",)),
    Group("commands", "Commands", "What devices are told to do", ("command",)),
    Group("notifications", "Notifications", "What devices tell", ("notification",)),
    Group("subscriptions", "Subscriptions", "Receiving messages over a WebSocket as they come", ("subscription",)),
    POLLS,
    Group("networks", "Networks", "Groups of devices, by which users are given access", ("network",)),
    Group("devicetypes", "Device types", "Kinds of devices, by which users are given access", ("devicetype",)),
    Group("users", "Users", "Who may log in, and which networks and device types are theirs", ("user",)),
    Group("configuration", "Configuration", "Named values that clients keep on the server", ("configuration",)),
)
SUBSCRIBING = frozenset({"subscribe", "unsubscribe"})


def group_of(action):
    """The group to which an action belongs.

    :raises LookupError: there is none yet.
    """
    if action.waits:
        return POLLS
    first, _, verb = action.name.partition("/")
    prefix = "subscription" if verb in SUBSCRIBING else first
    found = [group for group in GROUPS if prefix in group.prefixes]
    if not found:
        raise LookupError(f"no group of the reference has actions that begin with {prefix!r}")
    return found[0]

"""The actions of the API, one module for each resource. Importing this package fills the table."""

from dhtwisted.actions import (
    assignment,
    authenticate,
    command,
    configuration,
    device,
    devicetype,
    discovery,
    info,
    network,
    notification,
    poll,
    subscription,
    token,
    user,
)
from dhtwisted.actions.table import ACTIONS, REST_ONLY, Action, action

__all__ = [
    "ACTIONS",
    "REST_ONLY",
    "Action",
    "action",
    "assignment",
    "command",
    "configuration",
    "device",
    "devicetype",
    "discovery",
    "info",
    "network",
    "notification",
    "poll",
    "authenticate",
    "subscription",
    "token",
    "user",
]

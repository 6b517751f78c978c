"""The actions of the API, one module for each resource. Importing this package fills the table."""

from dhtwisted.actions import command, device, info, notification, session, subscription, token
from dhtwisted.actions.declare import ACTIONS, Action, action

__all__ = ["ACTIONS", "Action", "action", "command", "device", "info", "notification", "session", "subscription", "token"]

"""The actions of the API, one module for each resource. Importing this package fills the table."""

from importlib import import_module

from dhtwisted.actions.table import ACTIONS, REST_ONLY, Action, action, put_in_order

MODULES = (
    "authenticate",
    "token",
    "device_token",
    "info",
    "configuration",
    "device",
    "command",
    "notification",
    "subscription",
    "poll",
    "network",
    "devicetype",
    "user",
    "assignment",
)
"""Every module that declares actions. This is the order of the table and of the reference; inside a module it is that of declaration."""

for _name in MODULES:
    import_module(f"{__name__}.{_name}")
put_in_order([f"{__name__}.{name}" for name in MODULES])

__all__ = ["ACTIONS", "MODULES", "REST_ONLY", "Action", "action"]

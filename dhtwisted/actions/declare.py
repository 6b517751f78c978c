"""The action table: every message of the API is declared once, here to be found by its name."""

from __future__ import annotations

import inspect

ACTIONS: dict[str, Action] = {}


class Action:
    """One declared action.

    :ivar name: the wire name, such as ``device/save``.
    :ivar fields: the struct of its request members.
    :ivar permissions: any one of these is needed; empty for an action that works before ``authenticate``.
    :ivar handler: ``async (request) -> members``: a struct of the reply's own members, or ``None``.
    :ivar overlaps: may be begun while others of this sort from the same connection are under way.
    :ivar own_token: its ``token`` member is its own, and not an authorization of this one request.
    :ivar documentation: what it does, for the reference.
    """

    __slots__ = ("documentation", "fields", "handler", "name", "overlaps", "own_token", "permissions")

    def __init__(self, fields, handler, permissions, overlaps, own_token):
        self.name = fields.__struct_config__.tag
        self.fields = fields
        self.handler = handler
        self.permissions = frozenset(permissions)
        self.overlaps = overlaps
        self.own_token = own_token
        self.documentation = inspect.getdoc(handler) or ""


def action(fields, *permissions, overlaps=False, own_token=False):
    """Declare the decorated coroutine function as the handler of the action that ``fields`` is tagged with.

    :raises ValueError: the action is declared already.
    """

    def declare(handler):
        declared = Action(fields, handler, permissions, overlaps, own_token)
        if declared.name in ACTIONS:
            raise ValueError(f"the action {declared.name} is declared twice")
        ACTIONS[declared.name] = declared
        return handler

    return declare

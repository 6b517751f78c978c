"""Every action against every kind of token, over WebSocket and REST: who is let in, by one table (``reliability``, Access 1 and 2).

An action that is not in the table fails.
"""

import pytest
import pytest_twisted

from dhtwisted.actions import ACTIONS, REST_ONLY
from tests.support.token_matrix import (
    ALLOWED,
    FORBIDDEN,
    NOBODY,
    TABLE,
    World,
    over_rest,
    over_websocket,
    over_websocket_after_authenticate,
)

GOOD = ("admin", "exact", "others", "mute", "outsider")
"""Kinds of token that somebody is known by; all others are refused, whatever is asked."""

BAD = ("garbage", "forged", "unsigned", "expired", "refresh", "disabled", "deleted", "revoked")


def expected(permission, outsider, kind):
    """What a request must be answered, as a code of HTTP."""
    if kind in BAD:
        return NOBODY
    if permission is None:
        return ALLOWED
    return {"none": NOBODY, "admin": ALLOWED, "exact": ALLOWED, "others": FORBIDDEN, "mute": FORBIDDEN, "outsider": outsider}[kind]


class Worlds:
    """A world for each request that is let in: it may have changed its world. Requests that are refused share one."""

    def __init__(self, open_server, permission):
        self._open_server = open_server
        self._permission = permission
        self._world = None

    async def next(self):
        """A world that no request has changed."""
        if self._world is None:
            self._world = await World.make(self._open_server, self._permission)
        return self._world

    def answered(self, code):
        """Take note of the answer of a request; returns it."""
        if code == ALLOWED:
            self._world = None
        return code


def test_every_action_is_in_the_table():
    assert TABLE.keys() == ACTIONS.keys() | REST_ONLY.keys()


@pytest.mark.parametrize("action", TABLE)
@pytest_twisted.ensureDeferred
async def test_who_is_let_in(open_server, action):
    permission, members, outsider = TABLE[action]
    over_websocket_told, over_rest_told = outsider if isinstance(outsider, tuple) else (outsider, outsider)
    found, wanted, worlds = {}, {}, Worlds(open_server, permission)
    for kind in ("none", *BAD, *GOOD):
        ways = {} if action not in ACTIONS else {"request": over_websocket, "connection": over_websocket_after_authenticate}
        for name, way in ways.items():
            world = await worlds.next()
            found[kind, name] = worlds.answered(await way(world, action, world.members(members, kind), world.tokens[kind]))
            wanted[kind, name] = NOBODY if action == "authenticate" and kind == "none" else expected(permission, over_websocket_told, kind)
        for route in (ACTIONS.get(action) or REST_ONLY[action]).routes:
            world = await worlds.next()
            found[kind, route.path] = worlds.answered(await over_rest(world, route, world.members(members, kind), world.tokens[kind]))
            wanted[kind, route.path] = expected(permission, over_rest_told, kind)
    assert {place: code for place, code in found.items() if code != wanted[place]} == {}

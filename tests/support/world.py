"""The users, networks and device types that transcripts use, and their tokens.

============  ==  ====================================================================
``admin``      1  the administrator of the first start
``anna``       2  a client with network 1 and every device type
``berta``      3  a client with network 2 and device type 2
``carla``      4  a client with no network
``dora``       5  a disabled client with network 1
============  ==  ====================================================================

Each name is a variable. Its value is an access token like that of a login. Further variables: ``mute`` (anna, no permission), ``narrow``
(the administrator, network 2 alone), ``expired``, ``forged``, and the refresh tokens ``refresh``, ``refresh_anna``, ``refresh_dora``,
``refresh_expired``.
"""

from collections.abc import Iterable
from typing import Any

import jwt

from dhtwisted.core.access import CLIENT_PERMISSIONS, Permission
from dhtwisted.model import DISABLED, DeviceType, Network, User
from dhtwisted.testing.server import MemoryServer


async def furnish(memory: MemoryServer) -> dict[str, Any]:
    """Fill a fresh ``MemoryServer``.

    :returns: variables for transcripts.
    """
    entities = memory.server.entities
    await entities.insert(Network(name="Garden"))
    await entities.insert(DeviceType(name="Pump"))
    anna = await memory.add_user("anna", network_ids=frozenset({1}))
    berta = await memory.add_user("berta", network_ids=frozenset({2}), device_type_ids=frozenset({2}), all_device_types_available=False)
    carla = await memory.add_user("carla")
    dora = await memory.add_user("dora", network_ids=frozenset({1}), status=DISABLED)

    def client(
        user: User,
        networks: Iterable[str],
        types: Iterable[str] = ("*",),
        actions: Iterable[Permission] = CLIENT_PERMISSIONS,
        **others: Any,
    ) -> str:
        claims: dict[str, Any] = {
            "actions": frozenset(actions),
            "network_ids": frozenset(networks),
            "device_type_ids": frozenset(types),
            **others,
        }
        return memory.token(user, **claims)

    return {
        "admin": memory.token(),
        "anna": client(anna, ["1"]),
        "berta": client(berta, ["2"], ["2"]),
        "carla": client(carla, []),
        "dora": client(dora, ["1"]),
        "mute": client(anna, ["1"], actions={Permission.NONE}),
        "narrow": memory.token(network_ids=frozenset({"2"})),
        "expired": memory.token(lifetime=-1),
        "forged": jwt.encode({"payload": {"u": 1, "a": [0], "n": ["*"], "dt": ["*"], "e": 10**15, "t": 1}}, b"?" * 32, "HS256"),
        "refresh": memory.token(refresh=True),
        "refresh_anna": client(anna, ["1"], refresh=True),
        "refresh_dora": client(dora, ["1"], refresh=True),
        "refresh_expired": memory.token(refresh=True, lifetime=-1),
    }

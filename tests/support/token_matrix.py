"""Access rights: every action with a good request, and a server with a token of each kind.

The table does not use the code that it is compared with.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Awaitable, Callable
from typing import Any, Self
from urllib.parse import quote, urlencode

import jwt

from dhtwisted.actions.table import WHOLE, Route
from dhtwisted.core.access import ALL_PERMISSIONS, Permission
from dhtwisted.model import DISABLED, DeviceType, Network, Raised, User
from dhtwisted.testing.server import PASSWORD, MemoryServer
from tests.support.rest_api import RestClient

PUMP = {"deviceId": "pump"}
COMMAND = PUMP | {"commandId": 1}
ALLOWED, FORBIDDEN, UNKNOWN, NOBODY = 200, 403, 404, 401

TABLE: dict[str, tuple[str | None, dict[str, Any], int | tuple[int, int]]] = {
    # action: (any of these permissions, members of a good request, the code for a client of another network)
    "authenticate": (None, {}, ALLOWED),
    "token": (None, {"login": "dhadmin", "password": PASSWORD}, ALLOWED),
    "token/refresh": (None, {"refreshToken": ...}, ALLOWED),
    "token/create": ("ManageToken", {"payload": {"userId": ...}}, ALLOWED),
    "token/list": ("ManageToken", {}, ALLOWED),
    "token/revoke": ("ManageToken", {"tokenId": ...}, UNKNOWN),
    "server/info": (None, {}, ALLOWED),
    "server/cacheInfo": (None, {}, ALLOWED),
    "cluster/info": (None, {}, ALLOWED),
    "info": (None, {}, ALLOWED),
    "device/list": ("GetDevice", {}, ALLOWED),
    "device/count": ("GetDevice", {}, ALLOWED),
    "device/get": ("GetDevice", PUMP, FORBIDDEN),
    "device/save": ("RegisterDevice", PUMP | {"device": {"name": "Pump", "networkId": 1, "deviceTypeId": 1}}, FORBIDDEN),
    "device/delete": ("RegisterDevice", PUMP, FORBIDDEN),
    "command/insert": ("CreateDeviceCommand", PUMP | {"command": {"command": "on"}}, FORBIDDEN),
    "command/get": ("GetDeviceCommand", COMMAND, FORBIDDEN),
    "command/list": ("GetDeviceCommand", PUMP, FORBIDDEN),
    "command/update": ("UpdateDeviceCommand", COMMAND | {"command": {"status": "done"}}, FORBIDDEN),
    "command/subscribe": ("GetDeviceCommand", PUMP, FORBIDDEN),
    "command/unsubscribe": ("GetDeviceCommand", {}, ALLOWED),
    "command/poll": ("GetDeviceCommand", PUMP | {"waitTimeout": 0}, FORBIDDEN),
    "command/wait": ("GetDeviceCommand", COMMAND | {"waitTimeout": 0}, FORBIDDEN),
    "notification/insert": ("CreateDeviceNotification", PUMP | {"notification": {"notification": "wet"}}, FORBIDDEN),
    "notification/get": ("GetDeviceNotification", PUMP | {"notificationId": 1}, FORBIDDEN),
    "notification/list": ("GetDeviceNotification", PUMP, FORBIDDEN),
    "notification/subscribe": ("GetDeviceNotification", PUMP, FORBIDDEN),
    "notification/unsubscribe": ("GetDeviceNotification", {}, ALLOWED),
    "notification/poll": ("GetDeviceNotification", PUMP | {"waitTimeout": 0}, FORBIDDEN),
    "subscription/list": ("GetDeviceCommand GetDeviceNotification", {}, ALLOWED),
    "network/list": ("GetNetwork", {}, ALLOWED),
    "network/count": ("GetNetwork", {}, ALLOWED),
    "network/get": ("GetNetwork", {"networkId": 1}, UNKNOWN),
    "network/insert": ("ManageNetwork", {"network": {"name": "new"}}, ALLOWED),
    "network/update": ("ManageNetwork", {"networkId": 2, "network": {"name": "new"}}, UNKNOWN),
    "network/delete": ("ManageNetwork", {"networkId": 2}, UNKNOWN),
    "devicetype/list": ("GetDeviceType", {}, ALLOWED),
    "devicetype/count": ("GetDeviceType", {}, ALLOWED),
    "devicetype/get": ("GetDeviceType", {"deviceTypeId": 1}, UNKNOWN),
    "devicetype/insert": ("ManageDeviceType", {"deviceType": {"name": "new"}}, ALLOWED),
    "devicetype/update": ("ManageDeviceType", {"deviceTypeId": 2, "deviceType": {"name": "new"}}, UNKNOWN),
    "devicetype/delete": ("ManageDeviceType", {"deviceTypeId": 2}, UNKNOWN),
    "user/list": ("ManageUser", {}, ALLOWED),
    "user/count": ("ManageUser", {}, ALLOWED),
    "user/get": ("ManageUser", {"userId": 2}, (UNKNOWN, FORBIDDEN)),
    "user/getCurrent": ("GetCurrentUser", {}, ALLOWED),
    "user/insert": ("ManageUser", {"user": {"login": "new-one", "password": PASSWORD, "role": 1}}, ALLOWED),
    "user/update": ("ManageUser", {"userId": 2, "user": {"data": {}}}, ALLOWED),
    "user/updateCurrent": ("UpdateCurrentUser", {"user": {"data": {}}}, ALLOWED),
    "user/delete": ("ManageUser", {"userId": 2}, ALLOWED),
    "user/getNetwork": ("GetNetwork", {"userId": 2, "networkId": 1}, UNKNOWN),
    "user/assignNetwork": ("ManageNetwork", {"userId": 2, "networkId": 2}, ALLOWED),
    "user/unassignNetwork": ("ManageNetwork", {"userId": 2, "networkId": 1}, ALLOWED),
    "user/getDeviceType": ("GetDeviceType", {"userId": 2, "deviceTypeId": 1}, UNKNOWN),
    "user/getDeviceTypes": ("ManageDeviceType", {"userId": 2}, ALLOWED),
    "user/assignDeviceType": ("ManageDeviceType", {"userId": 2, "deviceTypeId": 2}, ALLOWED),
    "user/unassignDeviceType": ("ManageDeviceType", {"userId": 2, "deviceTypeId": 1}, ALLOWED),
    "user/allowAllDeviceTypes": ("ManageDeviceType", {"userId": 2}, ALLOWED),
    "user/disallowAllDeviceTypes": ("ManageDeviceType", {"userId": 2}, ALLOWED),
    "configuration/get": ("ManageConfiguration", {"name": "colour"}, ALLOWED),
    "configuration/put": ("ManageConfiguration", {"name": "colour", "value": "red"}, ALLOWED),
    "configuration/delete": ("ManageConfiguration", {"name": "colour"}, ALLOWED),
}
"""``...`` stands for a value that belongs to the caller. A pair of codes is one for WebSocket and one for REST. The token alone decides
who may assign networks, types and users (auth reference, section 5): only administrators can create such tokens.
"""


class World:
    """One server, and a token of each kind for one action.

    :ivar outsider: a client of another network.
    :ivar tokens: kind -> token; ``None`` for no token.
    """

    server: MemoryServer
    token_id: int
    outsider: User
    tokens: dict[str, str | None]

    @classmethod
    async def make(cls, open_server: Callable[..., Awaitable[MemoryServer]], permission: str | None) -> Self:
        self = cls()
        self.server = server = await open_server(hash_password=True)
        entities = server.server.entities
        await entities.insert(Network(name="other"))
        await entities.insert(DeviceType(name="other"))
        admin = await server.client()
        await server.add_user("anna", network_ids=frozenset({1}), device_type_ids=frozenset({1}), all_device_types_available=False)
        await admin.call("device/save", deviceId="pump", device={"networkId": 1, "deviceTypeId": 1})
        await admin.call("command/insert", deviceId="pump", command={"command": "on"})
        await admin.call("command/update", deviceId="pump", commandId=1, command={"status": "done"})
        await admin.call("notification/insert", deviceId="pump", notification={"notification": "wet"})
        await admin.call("configuration/put", name="colour", value="blue")
        await admin.call("token/create", payload={"userId": 1, "deviceId": "pump"})
        self.token_id = (await admin.call("token/list"))["tokens"][0]["id"]
        self.outsider = await server.add_user("berta", all_device_types_available=False)
        self.tokens = await self._tokens({Permission.NONE} if permission is None else set(map(named, permission.split())))
        return self

    async def _tokens(self, permissions: set[Permission]) -> dict[str, str | None]:
        server, entities = self.server, self.server.server.entities
        disabled = await server.add_user("dora", status=DISABLED)
        deleted = await server.add_user("emma")
        await entities.delete(User, deleted.id)
        revoked = await server.add_user("fanny")
        await entities.update(User, revoked.id, {"valid_from": Raised(1)})
        admin, alg = server.token(), base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
        claims = jwt.decode(admin, options={"verify_signature": False})
        return {
            "none": None,
            "garbage": "no.token.at-all",
            "forged": jwt.encode(claims, b"?" * 32, "HS256"),
            "unsigned": f"{alg}.{admin.split('.')[1]}.",
            "expired": server.token(lifetime=-1),
            "refresh": server.token(refresh=True),
            "disabled": server.token(disabled),
            "deleted": server.token(deleted),
            "revoked": server.token(revoked),
            "admin": admin,
            "exact": server.token(actions=frozenset([min(permissions)])),
            "others": server.token(actions=ALL_PERMISSIONS - permissions),
            "mute": server.token(actions=frozenset({Permission.NONE})),
            "outsider": server.token(self.outsider, actions=frozenset(permissions)),
        }

    def members(self, members: dict[str, Any], kind: str) -> dict[str, Any]:
        """The members of a request, with the values that belong to the caller."""
        user = self.outsider if kind == "outsider" else self.server.administrator
        own = {"userId": user.id, "refreshToken": self.server.token(refresh=True), "tokenId": self.token_id}
        return {
            name: own[name] if value is ... else self.members(value, kind) if isinstance(value, dict) else value
            for name, value in members.items()
        }


def named(permission: str) -> Permission:
    """The permission with a name such as ``GetDevice``."""
    return Permission[re.sub(r"(?<!^)(?=[A-Z])", "_", permission).upper()]


async def over_websocket(world: World, action: str, members: dict[str, Any], token: str | None) -> int:
    """Send a request with its own token. Returns the code of the answer, 200 for a success."""
    if action == "authenticate":
        members = {"token": token}
    elif token is not None:
        members = members | {"token": token}
    reply = await world.server.connect().request(action, **members)
    return ALLOWED if reply["status"] == "success" else reply["code"]


async def over_websocket_after_authenticate(world: World, action: str, members: dict[str, Any], token: str | None) -> int:
    """Authenticate a connection, and send a request on it. Returns the code of the answer, 200 for a success."""
    client = world.server.connect()
    if token is not None:
        reply = await client.request("authenticate", token=token)
        if reply["status"] != "success":
            return reply["code"]
    reply = await client.request(action, **members | ({"token": token} if action == "authenticate" else {}))
    return ALLOWED if reply["status"] == "success" else reply["code"]


async def over_rest(world: World, route: Route, members: dict[str, Any], token: str | None) -> int:
    """Send a request over REST. Returns the code of the answer, 200 for any success."""
    left = dict(members)
    path = re.sub(r"{(\w+)}", lambda match: quote(str(left.pop(match[1])), safe=""), route.path)
    body = None
    if route.body is not None:
        body = left if route.body is WHOLE else left.pop(route.body)
    elif left:
        path += "?" + urlencode(left)
    client = RestClient(world.server, None if token is None else f"Bearer {token}")
    answer = client.send(route.method, path, body, None if body is None else "application/json")
    for _ in range(2):
        # A poll waits for the end of a millisecond.
        world.server.clock.advance(0.01)
    status, _ = await answer
    return ALLOWED if status in (200, 201, 204) else status

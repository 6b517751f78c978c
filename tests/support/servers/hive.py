"""A server over REST that has every object that a request names."""

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import requests

from tests.support.servers.process import PASSWORD, ServerProcess

BASE = "/api/rest"
LOGIN = "dhadmin"
SECONDS = 30
LONGEST_NAME = 128


class Hive:
    """A running server with its data in memory, and its administrator.

    :param directory: its working directory.
    :ivar address: the URL of its REST API.
    :ivar session: the HTTP client that keeps connections.
    """

    def __init__(self, directory: Path) -> None:
        self._server = ServerProcess(directory, "--storage", "memory:", DHTWISTED_LIMITS_LOGINS_PER_MINUTE="0")
        self.address = self._server.url(BASE, "http")
        self.session = requests.Session()
        self._serial = count(1)
        self._made: dict[tuple[str, ...], dict[str, Any]] = {}
        self._token: str | None = None
        self._token, self._refresh_token = self._log_in(LOGIN)

    def close(self) -> None:
        """End the server. It fails when the administrator cannot use it any more, or when it has logged a defect."""
        self._call("GET", "/user/current")
        self.session.close()
        self._server.kill()
        assert "Traceback" not in self._server.log, self._server.log

    def _call(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request as the administrator, which must succeed. Returns the answer."""
        headers = {} if self._token is None else {"Authorization": f"Bearer {self._token}"}
        answer = self.session.request(method, self.address + path, json=body, headers=headers, timeout=SECONDS)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def _log_in(self, login: str) -> tuple[str, str]:
        tokens = self._call("POST", "/token", {"login": login, "password": PASSWORD})
        return tokens["accessToken"], tokens["refreshToken"]

    def token(self, case: Any) -> str | None:
        """An access token for a request: the administrator's, or a new administrator's if the request can change its own user."""
        if case.path == "/user/current" and case.method != "GET":
            login = self._unused("admin")
            self._call("POST", "/user", {"login": login, "password": PASSWORD, "role": 0})
            return self._log_in(login)[0]
        return self._token

    def furnish_path(self, case: Any) -> None:
        """Make the objects that the path of a request names. Later requests use them too, until a request may have deleted them."""
        key = tuple(case.path_parameters)
        if key not in self._made:
            self._made[key] = {}
            for name, make in self._makers.items():
                if name in case.path_parameters:
                    self._made[key][name] = make(self._made[key])
        case.path_parameters.update(self._made[key])
        if case.method == "DELETE":
            del self._made[key]

    def furnish(self, case: Any) -> None:
        """Make the objects that path, query and body of a request name, and put in credentials and unused names."""
        self.furnish_path(case)
        known = self._known(case)
        for members in (case.query, case.body):
            if isinstance(members, dict):
                members.update({name: known[name] for name in members.keys() & known if members[name] is not None})

    def _known(self, case: Any) -> dict[str, Any]:
        known: dict[str, Any] = {"networkId": 1, "deviceTypeId": 1, "userId": 1}
        if case.path.startswith("/token"):
            known |= {"login": LOGIN, "password": PASSWORD, "refreshToken": self._refresh_token}
        elif case.method != "GET" and not case.path.startswith("/device/") and isinstance(case.body, dict):
            known |= {name: self._unused(case.body[name])[:LONGEST_NAME] for name in ("login", "name") if case.body.get(name)}
        if case.path.endswith("/poll"):
            device_id = self._device({})
            known |= {"deviceId": device_id, "deviceIds": [device_id], "networkIds": [1], "deviceTypeIds": [1]}
        return known

    def _unused(self, text: str) -> str:
        """A text that no object has yet."""
        return f"{next(self._serial)}-{text}"

    @property
    def _makers(self) -> dict[str, Callable[[dict[str, Any]], Any]]:
        """Name of a place in a path -> function that makes a new object. The places before it are filled by then."""
        return {
            "userId": self._user,
            "networkId": self._network,
            "deviceTypeId": self._device_type,
            "deviceId": self._device,
            "commandId": self._command,
            "notificationId": self._notification,
            "name": self._configuration,
            "tokenId": self._device_token,
        }

    def _user(self, places: dict[str, Any]) -> int:
        user = {"login": self._unused("user"), "password": PASSWORD, "role": 1, "allDeviceTypesAvailable": False}
        return self._call("POST", "/user", user)["id"]

    def _network(self, places: dict[str, Any]) -> int:
        network_id = self._call("POST", "/network", {"name": self._unused("network")})["id"]
        if "userId" in places:
            self._call("PUT", f"/user/{places['userId']}/network/{network_id}")
        return network_id

    def _device_type(self, places: dict[str, Any]) -> int:
        type_id = self._call("POST", "/devicetype", {"name": self._unused("type")})["id"]
        if "userId" in places:
            self._call("PUT", f"/user/{places['userId']}/devicetype/{type_id}")
        return type_id

    def _device(self, places: dict[str, Any]) -> str:
        device_id = self._unused("device")
        self._call("PUT", f"/device/{device_id}", {"networkId": 1, "deviceTypeId": 1})
        return device_id

    def _command(self, places: dict[str, Any]) -> int:
        """A command that was updated, since a request may wait for that."""
        path = f"/device/{places['deviceId']}/command"
        command_id = self._call("POST", path, {"command": "open"})["id"]
        self._call("PUT", f"{path}/{command_id}", {"status": "done"})
        return command_id

    def _notification(self, places: dict[str, Any]) -> int:
        return self._call("POST", f"/device/{places['deviceId']}/notification", {"notification": "opened"})["id"]

    def _device_token(self, places: dict[str, Any]) -> int:
        device_id = self._device({})
        self._call("POST", "/token/create", {"userId": 1, "deviceId": device_id})
        return self._call("GET", f"/token?deviceId={device_id}")[0]["id"]

    def _configuration(self, places: dict[str, Any]) -> str:
        name = self._unused("color")
        self._call("PUT", f"/configuration/{name}", {"value": "blue"})
        return name

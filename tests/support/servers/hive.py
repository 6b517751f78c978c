"""A server over REST, with whatever a request may name."""

from itertools import count

import requests

from tests.support.servers.process import PASSWORD, ServerProcess

BASE = "/api/rest"
LOGIN = "dhadmin"
SECONDS = 30
LONGEST_NAME = 128


class Hive:
    """A running server with its data in memory, and its administrator.

    :param directory: where it runs.
    :ivar address: where its REST API is.
    :ivar session: keeps connections.
    """

    def __init__(self, directory):
        self._server = ServerProcess(directory, "--storage", "memory:", DHTWISTED_LIMITS_LOGINS_PER_MINUTE="0")
        self.address = self._server.url(BASE, "http")
        self.session = requests.Session()
        self._serial = count(1)
        self._made = {}
        self._token = None
        self._token, self._refresh_token = self._log_in(LOGIN)

    def close(self):
        """End the server; fails when the administrator cannot use it any more, or it has logged a defect."""
        self._call("GET", "/user/current")
        self.session.close()
        self._server.kill()
        assert "Traceback" not in self._server.log, self._server.log

    def _call(self, method, path, body=None):
        """Send a request of the administrator that must succeed; returns the answer."""
        headers = {} if self._token is None else {"Authorization": f"Bearer {self._token}"}
        answer = self.session.request(method, self.address + path, json=body, headers=headers, timeout=SECONDS)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def _log_in(self, login):
        tokens = self._call("POST", "/token", {"login": login, "password": PASSWORD})
        return tokens["accessToken"], tokens["refreshToken"]

    def token(self, case):
        """An access token for a request: the administrator's, or that of a new one if it may change who asks."""
        if case.path == "/user/current" and case.method != "GET":
            login = self._unused("admin")
            self._call("POST", "/user", {"login": login, "password": PASSWORD, "role": 0})
            return self._log_in(login)[0]
        return self._token

    def furnish_path(self, case):
        """Make what the path of a request names, and name it. It is used again for others until one may have deleted it."""
        key = tuple(case.path_parameters)
        if key not in self._made:
            self._made[key] = {}
            for name, make in self._makers.items():
                if name in case.path_parameters:
                    self._made[key][name] = make(self._made[key])
        case.path_parameters.update(self._made[key])
        if case.method == "DELETE":
            del self._made[key]

    def furnish(self, case):
        """The same for all of a request: path, query, body, credentials, and names that nothing has yet."""
        self.furnish_path(case)
        known = self._known(case)
        for members in (case.query, case.body):
            if isinstance(members, dict):
                members.update({name: known[name] for name in members.keys() & known if members[name] is not None})

    def _known(self, case):
        known = {"networkId": 1, "deviceTypeId": 1, "userId": 1}
        if case.path.startswith("/token"):
            known |= {"login": LOGIN, "password": PASSWORD, "refreshToken": self._refresh_token}
        elif case.method != "GET" and not case.path.startswith("/device/") and isinstance(case.body, dict):
            known |= {name: self._unused(case.body[name])[:LONGEST_NAME] for name in ("login", "name") if case.body.get(name)}
        if case.path.endswith("/poll"):
            device_id = self._device({})
            known |= {"deviceId": device_id, "deviceIds": [device_id], "networkIds": [1], "deviceTypeIds": [1]}
        return known

    def _unused(self, text):
        """A text that was not there before."""
        return f"{next(self._serial)}-{text}"

    @property
    def _makers(self):
        """Name of a place in a path -> what makes a new object; what it belongs to is made before, and in the path by then."""
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

    def _user(self, places):
        user = {"login": self._unused("user"), "password": PASSWORD, "role": 1, "allDeviceTypesAvailable": False}
        return self._call("POST", "/user", user)["id"]

    def _network(self, places):
        network_id = self._call("POST", "/network", {"name": self._unused("network")})["id"]
        if "userId" in places:
            self._call("PUT", f"/user/{places['userId']}/network/{network_id}")
        return network_id

    def _device_type(self, places):
        type_id = self._call("POST", "/devicetype", {"name": self._unused("type")})["id"]
        if "userId" in places:
            self._call("PUT", f"/user/{places['userId']}/devicetype/{type_id}")
        return type_id

    def _device(self, places):
        device_id = self._unused("device")
        self._call("PUT", f"/device/{device_id}", {"networkId": 1, "deviceTypeId": 1})
        return device_id

    def _command(self, places):
        """One that has been updated, since that may be asked for."""
        path = f"/device/{places['deviceId']}/command"
        command_id = self._call("POST", path, {"command": "open"})["id"]
        self._call("PUT", f"{path}/{command_id}", {"status": "done"})
        return command_id

    def _notification(self, places):
        return self._call("POST", f"/device/{places['deviceId']}/notification", {"notification": "opened"})["id"]

    def _device_token(self, places):
        device_id = self._device({})
        self._call("POST", "/token/create", {"userId": 1, "deviceId": device_id})
        return self._call("GET", f"/token?deviceId={device_id}")[0]["id"]

    def _configuration(self, places):
        name = self._unused("color")
        self._call("PUT", f"/configuration/{name}", {"value": "blue"})
        return name

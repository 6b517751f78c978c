"""A server over REST, with whatever a request may name."""

from itertools import count

import requests

from tests.system.process import PASSWORD, ServerProcess

BASE = "/api/rest"
LOGIN = "dhadmin"
SECONDS = 30


class Hive:
    """A running server with its data in memory, and its administrator.

    :param directory: where it runs.
    :ivar address: where its REST API is.
    :ivar token: the administrator's access token.
    """

    def __init__(self, directory):
        self._server = ServerProcess(directory, "--storage", "memory:", DHTWISTED_LIMITS_LOGINS_PER_MINUTE="0")
        self.address = self._server.url(BASE, "http")
        self.session = requests.Session()
        self.token = None
        self.refresh_token = None
        self._serial = count(1)
        self._made = {}
        self.token, self.refresh_token = self.log_in(LOGIN, PASSWORD)

    def close(self):
        """End the server; fails when it has logged a defect."""
        self.session.close()
        self._server.kill()
        assert "Traceback" not in self._server.log, self._server.log

    def call(self, method, path, body=None):
        """Send a request of the administrator that must succeed; returns the answer."""
        headers = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
        answer = self.session.request(method, self.address + path, json=body, headers=headers, timeout=SECONDS)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def log_in(self, login, password):
        """Get an access token and a refresh token."""
        tokens = self.call("POST", "/token", {"login": login, "password": password})
        return tokens["accessToken"], tokens["refreshToken"]

    def unused(self, text):
        """A text that was not there before."""
        return f"{next(self._serial)}-{text}"

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
        """The same for all of a request: path, query, body, credentials."""
        self.furnish_path(case)
        known = self._known(case)
        for members in (case.query, case.body):
            if isinstance(members, dict):
                members.update({name: known[name] for name in members.keys() & known if members[name] is not None})

    def _known(self, case):
        known = {"networkId": 1, "deviceTypeId": 1, "userId": 1}
        known |= {"login": LOGIN, "password": PASSWORD, "refreshToken": self.refresh_token}
        if case.path.endswith("/poll"):
            device_id = self._device({})
            known |= {"deviceId": device_id, "deviceIds": [device_id], "networkIds": [1], "deviceTypeIds": [1]}
        return known

    @property
    def _makers(self):
        """Name of a place in a path -> what makes a new object; what it belongs to is made before, and in the path by then."""
        return {"deviceId": self._device, "commandId": self._command, "notificationId": self._notification}

    def _device(self, places):
        device_id = self.unused("device")
        self.call("PUT", f"/device/{device_id}", {"networkId": 1, "deviceTypeId": 1})
        return device_id

    def _command(self, places):
        """One that has been updated, since that may be asked for."""
        path = f"/device/{places['deviceId']}/command"
        command_id = self.call("POST", path, {"command": "open"})["id"]
        self.call("PUT", f"{path}/{command_id}", {"status": "done"})
        return command_id

    def _notification(self, places):
        return self.call("POST", f"/device/{places['deviceId']}/notification", {"notification": "opened"})["id"]

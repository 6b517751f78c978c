"""kill -9 under load: nothing that was acknowledged is lost, on ``file:`` storage."""

import json
import os
import random
import threading

from tests.system.process import Client

ROUNDS = int(os.environ.get("DHTWISTED_KILL_ROUNDS", "3"))
"""Set DHTWISTED_KILL_ROUNDS=20 for a longer run."""

WINDOW = 64


class Load(threading.Thread):
    """One connection that keeps requests in flight until the server is gone, and notes each that was acknowledged.

    :ivar notifications: acknowledged: id -> number in its parameters.
    :ivar results: acknowledged updates: command id -> the last result.
    :ivar sent_results: what was sent last for each command; may be there, acknowledged or not.
    """

    def __init__(self, server, device_id, enough):
        super().__init__(daemon=True)
        self.client = Client(server.url())
        self.client.log_in()
        self.client.call("device/save", deviceId=device_id, device={})
        self.device_id = device_id
        self.notifications, self.commands, self.results, self.sent_results = {}, {}, {}, {}
        self._enough = enough
        self._serial = 0
        self._in_flight = {}

    def run(self):
        try:
            while True:
                while len(self._in_flight) < WINDOW:
                    self._send()
                self._receive()
        except (OSError, EOFError, ValueError) as gone:
            self.end = gone
        except Exception as gone:
            if "WebSocket" not in type(gone).__name__:
                raise
            self.end = gone

    def _send(self):
        self._serial += 1
        n = self._serial
        if n % 3 == 0 and self.commands:
            command_id = random.choice(list(self.commands))
            body = {"action": "command/update", "commandId": command_id, "command": {"status": "s", "result": n}}
            self.sent_results.setdefault(command_id, []).append(n)
        elif n % 3 == 1:
            body = {"action": "command/insert", "command": {"command": "c", "parameters": n}}
        else:
            body = {"action": "notification/insert", "notification": {"notification": "t", "parameters": n}}
        self._in_flight[n] = body
        self.client.socket.send(json.dumps(body | {"requestId": n, "deviceId": self.device_id}))

    def _receive(self):
        reply = self.client.receive()
        if "status" not in reply:
            return
        assert reply["status"] == "success", reply
        n = reply["requestId"]
        body = self._in_flight.pop(n)
        if body["action"] == "command/insert":
            self.commands[reply["command"]["id"]] = n
        elif body["action"] == "notification/insert":
            self.notifications[reply["notification"]["id"]] = n
        else:
            self.results[body["commandId"]] = n
        if n > 300:
            self._enough.set()


def test_nothing_acknowledged_is_lost(start, tmp_path):
    acknowledged = {}
    for _ in range(ROUNDS):
        server = start("--storage", "file:hive.sqlite")
        _check(server, acknowledged)
        enough = threading.Event()
        loads = [Load(server, f"device-{n}", enough) for n in range(4)]
        for load in loads:
            load.start()
        assert enough.wait(30), server.log
        threading.Event().wait(random.uniform(0, 0.05))
        server.kill()
        for load in loads:
            load.join(30)
            _remember(acknowledged, load)
    count = _check(start("--storage", "file:hive.sqlite"), acknowledged)
    assert count > 300 * ROUNDS


def _remember(acknowledged, load):
    device = acknowledged.setdefault(load.device_id, {"notifications": {}, "commands": {}, "results": {}})
    overlap = device["notifications"].keys() & load.notifications.keys() | device["commands"].keys() & load.commands.keys()
    assert not overlap, f"ids were given twice: {overlap}"
    device["notifications"] |= load.notifications
    device["commands"] |= load.commands
    for command_id, result in load.results.items():
        sent = load.sent_results[command_id]
        device["results"][command_id] = sent[sent.index(result) :]


def _check(server, acknowledged):
    """Look for all that was acknowledged; returns how many things were found."""
    client = server.connect()
    count = 0
    for device_id, device in acknowledged.items():
        stored = _all(client, "notification", device_id)
        for notification_id, n in device["notifications"].items():
            assert stored[notification_id]["parameters"] == n
        stored = _all(client, "command", device_id)
        for command_id, n in device["commands"].items():
            assert stored[command_id]["parameters"] == n
        for command_id, results in device["results"].items():
            assert stored[command_id]["result"] in results
        count += len(device["notifications"]) + len(device["commands"]) + len(device["results"])
    client.close()
    return count


def _all(client, kind, device_id):
    found, skip = {}, 0
    while True:
        page = client.call(f"{kind}/list", deviceId=device_id, take=1000, skip=skip)[f"{kind}s"]
        found |= {message["id"]: message for message in page}
        if len(page) < 1000:
            return found
        skip += len(page)

"""Load on running servers, and a record of all that was sent and what became of it."""

import json
import random
import threading
import time
from contextlib import closing, suppress

import websocket

from tests.support.servers.process import Client, Refused
from tests.support.servers.report import KINDS, NAME, Report, read_stored
from tests.support.waiting import wait_until

PATIENCE = 60
"""Seconds after which a connection that gives no answer is given up, and a wait fails."""

PAUSE = 0.05
"""Seconds before the next request when one was refused, and before the next attempt to connect."""


class Worker(threading.Thread):
    """A client that connects again whenever it loses its connection, until it is told to stop.

    :param url: where the server is, also after a restart.
    :ivar connections: how often it was connected and logged in.
    """

    def __init__(self, url):
        super().__init__(daemon=True)
        self.connections = 0
        self._url = url
        self._client = None
        self._stopping = threading.Event()
        self._failure = None

    def run(self):
        try:
            while not self._stopping.is_set():
                self._live_once()
        except BaseException as failure:
            self._failure = failure

    def _live_once(self):
        try:
            self._client = Client(self._url)
            self._client.socket.settimeout(PATIENCE)
            self._client.log_in()
            self.connections += 1
            self.work(self._client)
        except (OSError, EOFError, websocket.WebSocketException, Refused):
            self.lost()
            self._stopping.wait(PAUSE)
        finally:
            if self._client is not None:
                self._client.socket.shutdown()

    def work(self, client):
        """Use a new connection until the end, or until it is lost."""
        raise NotImplementedError

    def lost(self):
        """The connection was lost."""

    def stop(self):
        """Tell it to come to an end."""
        self._stopping.set()

    def finish(self):
        """Wait for the end; raises what went wrong in the thread."""
        self.join(2 * PATIENCE)
        if self._failure is not None:
            raise self._failure
        assert not self.is_alive(), "a client does not end"


class Writer(Worker):
    """Keeps requests of one device in flight: inserts of notifications and commands, and updates of commands. None is sent again.

    Requests are numbered; the number is in the parameters of a message, or the result of an update.

    :ivar sent: number -> kind of the message that was inserted, or the id of the command that was updated.
    :ivar acknowledged: number -> the id and timestamp of the message; for an update both are ``None``. In the order of replies.
    :ivar sent_by_then: number of an acknowledged request -> the last number that had been sent when the reply came: those above are later.
    :ivar refused: ``(time, code, number)``, the time as of ``time.monotonic``.
    :ivar unanswered: numbers of which nothing is known, since the connection was lost.
    :ivar longest: seconds from a request to its answer.
    """

    def __init__(self, url, device_id, window):
        super().__init__(url)
        self.device_id = device_id
        self.sent, self.acknowledged, self.sent_by_then, self.refused, self.unanswered = {}, {}, {}, [], set()
        self.longest = 0
        self._refusing = False
        self._window = window
        self._command_ids = []
        self._in_flight = {}

    def work(self, client):
        while self._in_flight or not self._stopping.is_set():
            # What is refused is tried one by one, until something succeeds.
            window = 1 if self._refusing else self._window
            while len(self._in_flight) < window and not self._stopping.is_set():
                self._send(client)
            if self._in_flight:
                self._take(client.receive())
            if self._refusing and not self._in_flight:
                self._stopping.wait(PAUSE)

    def lost(self):
        self.unanswered |= self._in_flight.keys()
        self._in_flight.clear()

    def _send(self, client):
        number = len(self.sent) + 1
        if number % 3 == 0 and self._command_ids:
            self.sent[number] = command_id = random.choice(self._command_ids)
            body = {"action": "command/update", "commandId": command_id, "command": {"result": number}}
        else:
            self.sent[number] = kind = KINDS[number % 2]
            body = {"action": f"{kind}/insert", kind: {kind: NAME, "parameters": number}}
        self._in_flight[number] = time.monotonic()
        client.socket.send(json.dumps(body | {"requestId": number, "deviceId": self.device_id}))

    def _take(self, reply):
        if "status" not in reply:
            return  # an update of a command that this connection has inserted
        number, now = reply["requestId"], time.monotonic()
        self.longest = max(self.longest, now - self._in_flight.pop(number))
        self._refusing = reply["status"] != "success"
        if self._refusing:
            self.refused.append((now, reply["code"], number))
            return
        message = reply.get("command") or reply.get("notification") or {}
        self.acknowledged[number] = message.get("id"), message.get("timestamp")
        self.sent_by_then[number] = len(self.sent)
        if self.sent[number] == "command":
            self._command_ids.append(message["id"])


class Reader(Worker):
    """Subscribes to messages of devices, from a timestamp on. After a loss it asks for those since the last one that it got.

    :ivar got: ``(kind, device id)`` -> ``[(id, timestamp, number)]``, as delivered; without what came again because it was asked for again.
    :ivar repeated: such messages that came twice in one subscription; texts.
    """

    def __init__(self, url, device_ids, since):
        super().__init__(url)
        self.got = {(kind, device_id): [] for device_id in device_ids for kind in KINDS}
        self.repeated = []
        self._since = since

    def work(self, client):
        self._here = {key: set() for key in self.got}
        self._known = {key: {message[0] for message in messages} for key, messages in self.got.items()}
        for (kind, device_id), messages in self.got.items():
            since = messages[-1][1] if messages else self._since
            client.call(f"{kind}/subscribe", deviceId=device_id, names=[NAME], timestamp=since)
        for event in client.events:
            self._take(event)
        while not self._stopping.is_set():
            self._take(client.receive())

    def has(self, stored):
        """Whether as many messages have come as there are."""
        return all(len(self.got[key]) >= len(messages) for key, messages in stored.items())

    def _take(self, event):
        kind = event["action"].removesuffix("/insert")
        message = event[kind]
        key, message_id = (kind, message["deviceId"]), message["id"]
        if message_id in self._here[key]:
            self.repeated.append(f"{kind} {message_id} of {message['deviceId']}")
        elif message_id not in self._known[key]:
            self.got[key].append((message_id, message["timestamp"], message["parameters"]))
        self._here[key].add(message_id)

    def stop(self):
        super().stop()
        if self._client is not None:
            # It waits for a message that will not come, unless the connection is lost already.
            with suppress(OSError):
                self._client.socket.abort()


class Load:
    """Writers and readers, from :meth:`start` or the beginning of a block on.

    :param urls: of the servers, as long as they run or are started again; they share the writers, and the first makes the devices.
    :param writers: how many there are, each with a device of its own.
    :param window: how many requests each keeps in flight.
    :param readers: urls; at each a reader subscribes to all that is written.
    """

    def __init__(self, urls, writers=4, window=64, readers=()):
        self._url = urls[0]
        device_ids = [f"device-{n}" for n in range(writers)]
        client = self._connect()
        for device_id in device_ids:
            client.call("device/save", deviceId=device_id, device={})
        since = client.call("server/info")["info"]["serverTimestamp"]
        client.close()
        self.writers = [Writer(urls[n % len(urls)], device_id, window) for n, device_id in enumerate(device_ids)]
        self.readers = [Reader(url, device_ids, since) for url in readers]

    def _connect(self):
        client = Client(self._url)
        client.log_in()
        return client

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        for worker in (*self.writers, *self.readers):
            worker.stop()

    def start(self):
        """Begin; returns the load."""
        for worker in (*self.readers, *self.writers):
            worker.start()
        return self

    def go_on(self, count, seconds=PATIENCE):
        """Wait until each writer has had so many more acknowledgements; fails if that takes longer than it may."""
        goals = {writer: len(writer.acknowledged) + count for writer in self.writers}

        def reached():
            return all(len(writer.acknowledged) >= goal or not writer.is_alive() for writer, goal in goals.items())

        wait_until(reached, f"no {count} more acknowledgements", seconds)

    def stop_writing(self):
        """Let the writers come to an end: what is in flight is waited for."""
        for writer in self.writers:
            writer.stop()
        for writer in self.writers:
            writer.finish()

    def report(self, stored=None, seconds=PATIENCE):
        """Stop, and compare what was sent with what is stored and what was delivered.

        :param stored: as :func:`~tests.support.servers.report.read_stored` gives it; ``None``: it is read from the first server.
        :param seconds: how long readers may need for the last messages.
        :returns: a :class:`~tests.support.servers.report.Report`.
        """
        self.stop_writing()
        if stored is None:
            with closing(self._connect()) as client:
                stored = read_stored(client, [writer.device_id for writer in self.writers])
        with suppress(TimeoutError):
            # What is still missing then is in the report.
            wait_until(lambda: all(reader.has(stored) for reader in self.readers), "messages were not delivered", seconds)
        for reader in self.readers:
            reader.stop()
        for reader in self.readers:
            reader.finish()
        return Report(self.writers, self.readers, stored)

"""Load on running servers, with a record of all requests and their results."""

import json
import random
import threading
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from typing import Any, Self

import websocket

from tests.support.servers.process import Client, Refused
from tests.support.servers.report import KINDS, NAME, Report, Stored, read_stored
from tests.support.waiting import wait_until

PATIENCE = 60
"""Seconds after which a client closes a connection without an answer, and a wait fails."""

PAUSE = 0.05
"""Seconds before the next request after a refusal, and before the next attempt to connect."""


class Worker(threading.Thread):
    """A client that connects again whenever it loses its connection, until :meth:`stop`.

    :param url: the address of the server, also after a restart.
    :ivar connections: how often it was connected and logged in.
    """

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.connections = 0
        self._url = url
        self._client: Client | None = None
        self._stopping = threading.Event()
        self._failure: BaseException | None = None

    def run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._live_once()
        except BaseException as failure:
            self._failure = failure

    def _live_once(self) -> None:
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

    def work(self, client: Client) -> None:
        """Use a new connection until :meth:`stop`, or until the connection is lost."""
        raise NotImplementedError

    def lost(self) -> None:
        """The connection was lost. Subclasses clean up here."""

    def stop(self) -> None:
        """Ask the thread to end."""
        self._stopping.set()

    def finish(self) -> None:
        """Wait for the end of the thread. An exception in the thread is raised here."""
        self.join(2 * PATIENCE)
        if self._failure is not None:
            raise self._failure
        assert not self.is_alive(), "a client does not end"


class Writer(Worker):
    """Keeps requests for one device in flight: inserts of notifications and commands, and updates of commands. It repeats none.

    Requests are numbered. The number is the parameters of a message, or the result of an update.

    :ivar sent: number -> kind of the inserted message, or id of the updated command.
    :ivar acknowledged: number -> id and timestamp of the message, in the order of the replies. Both are ``None`` for an update.
    :ivar sent_by_then: number of an acknowledged request -> number of the last request that was sent before the reply came.
    :ivar refused: time (of ``time.monotonic``), code and number of each refused request.
    :ivar unanswered: numbers of the requests whose result is unknown, since the connection was lost.
    :ivar longest: the longest time from a request to its answer, in seconds.
    """

    def __init__(self, url: str, device_id: str, window: int) -> None:
        super().__init__(url)
        self.device_id = device_id
        self.sent: dict[int, str | int] = {}
        self.acknowledged: dict[int, tuple[Any, Any]] = {}
        self.sent_by_then: dict[int, int] = {}
        self.refused: list[tuple[float, int, int]] = []
        self.unanswered: set[int] = set()
        self.longest = 0.0
        self._refusing = False
        self._window = window
        self._command_ids: list[int] = []
        self._in_flight: dict[int, float] = {}

    def work(self, client: Client) -> None:
        while self._in_flight or not self._stopping.is_set():
            # After a refusal one request at a time is in flight, until one succeeds.
            window = 1 if self._refusing else self._window
            while len(self._in_flight) < window and not self._stopping.is_set():
                self._send(client)
            if self._in_flight:
                self._take(client.receive())
            if self._refusing and not self._in_flight:
                self._stopping.wait(PAUSE)

    def lost(self) -> None:
        self.unanswered |= self._in_flight.keys()
        self._in_flight.clear()

    def _send(self, client: Client) -> None:
        number = len(self.sent) + 1
        if number % 3 == 0 and self._command_ids:
            self.sent[number] = command_id = random.choice(self._command_ids)
            body = {"action": "command/update", "commandId": command_id, "command": {"result": number}}
        else:
            self.sent[number] = kind = KINDS[number % 2]
            body = {"action": f"{kind}/insert", kind: {kind: NAME, "parameters": number}}
        self._in_flight[number] = time.monotonic()
        client.socket.send(json.dumps(body | {"requestId": number, "deviceId": self.device_id}))

    def _take(self, reply: dict[str, Any]) -> None:
        if "status" not in reply:
            return  # the event of an update of a command that this connection has inserted
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
    """Subscribes to messages of devices, from a timestamp on. After a loss it subscribes from its last message on.

    :ivar got: kind and device id -> id, timestamp and number of each message in the order of delivery. A message that a later subscription
        delivers again is left out.
    :ivar repeated: texts about messages that came twice in one subscription.
    """

    def __init__(self, url: str, device_ids: Sequence[str], since: str) -> None:
        super().__init__(url)
        self.got: dict[tuple[str, str], list[tuple[int, str, Any]]] = {(kind, device_id): [] for device_id in device_ids for kind in KINDS}
        self.repeated: list[str] = []
        self._since = since

    def work(self, client: Client) -> None:
        self._here: dict[tuple[str, str], set[int]] = {key: set() for key in self.got}
        self._known = {key: {message[0] for message in messages} for key, messages in self.got.items()}
        for (kind, device_id), messages in self.got.items():
            since = messages[-1][1] if messages else self._since
            client.call(f"{kind}/subscribe", deviceId=device_id, names=[NAME], timestamp=since)
        for event in client.events:
            self._take(event)
        while not self._stopping.is_set():
            self._take(client.receive())

    def has(self, stored: Stored) -> bool:
        """Whether as many messages have come as are stored."""
        return all(len(self.got[key]) >= len(messages) for key, messages in stored.items())

    def _take(self, event: dict[str, Any]) -> None:
        kind = event["action"].removesuffix("/insert")
        message = event[kind]
        key, message_id = (kind, message["deviceId"]), message["id"]
        if message_id in self._here[key]:
            self.repeated.append(f"{kind} {message_id} of {message['deviceId']}")
        elif message_id not in self._known[key]:
            self.got[key].append((message_id, message["timestamp"], message["parameters"]))
        self._here[key].add(message_id)

    def stop(self) -> None:
        super().stop()
        if self._client is not None:
            # The thread waits for a message that will not come. The connection may be lost already.
            with suppress(OSError):
                self._client.socket.abort()


class Load:
    """Writers and readers. They start with :meth:`start` or at the beginning of a block.

    :param urls: the addresses of the servers, the same after a restart. The writers are divided among them; the first makes the devices.
    :param writers: the number of writers; each has a device of its own.
    :param window: the number of requests that each writer keeps in flight.
    :param readers: addresses; at each of them a reader subscribes to all messages of the writers.
    """

    def __init__(self, urls: Sequence[str], writers: int = 4, window: int = 64, readers: Sequence[str] = ()) -> None:
        self._url = urls[0]
        device_ids = [f"device-{n}" for n in range(writers)]
        client = self._connect()
        for device_id in device_ids:
            client.call("device/save", deviceId=device_id, device={})
        since = client.call("server/info")["info"]["serverTimestamp"]
        client.close()
        self.writers = [Writer(urls[n % len(urls)], device_id, window) for n, device_id in enumerate(device_ids)]
        self.readers = [Reader(url, device_ids, since) for url in readers]

    def _connect(self) -> Client:
        client = Client(self._url)
        client.log_in()
        return client

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        for worker in (*self.writers, *self.readers):
            worker.stop()

    def start(self) -> Self:
        """Start all clients."""
        for worker in (*self.readers, *self.writers):
            worker.start()
        return self

    def go_on(self, count: int, seconds: float = PATIENCE) -> None:
        """Wait until each writer has got so many more acknowledgements.

        :raises TimeoutError: that took too long.
        """
        goals = {writer: len(writer.acknowledged) + count for writer in self.writers}

        def reached() -> bool:
            return all(len(writer.acknowledged) >= goal or not writer.is_alive() for writer, goal in goals.items())

        wait_until(reached, f"no {count} more acknowledgements", seconds)

    def stop_writing(self) -> None:
        """Let the writers end. They wait for the answers to their requests."""
        for writer in self.writers:
            writer.stop()
        for writer in self.writers:
            writer.finish()

    def report(self, stored: Stored | None = None, seconds: float = PATIENCE) -> Report:
        """Stop, and compare what was sent with what is stored and what was delivered.

        :param stored: from :func:`~tests.support.servers.report.read_stored`; ``None``: it is read from the first server.
        :param seconds: how long readers may need for the last messages.
        """
        self.stop_writing()
        if stored is None:
            with closing(self._connect()) as client:
                stored = read_stored(client, [writer.device_id for writer in self.writers])
        with suppress(TimeoutError):
            # The report lists messages that are still missing then.
            wait_until(lambda: all(reader.has(stored) for reader in self.readers), "messages were not delivered", seconds)
        for reader in self.readers:
            reader.stop()
        for reader in self.readers:
            reader.finish()
        return Report(self.writers, self.readers, stored)

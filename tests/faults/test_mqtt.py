"""Clients of MQTT that say nothing, too much, nonsense, or do not read: ended in time with a reason, and nobody else waits (Access 5)."""

import socket
import time
from contextlib import suppress
from threading import Event, Thread

import pytest

from dhtwisted.wire.mqtt.replies import ReplyDecoder
from tests.support.attacks.measures import open_files, raise_own_file_limit, resident
from tests.support.mqtt.broken import BROKEN_CONNECTS, BROKEN_PACKETS
from tests.support.mqtt.raw import connect, field, packet, publish, varint, with_id
from tests.support.proxy import FaultProxy
from tests.support.servers.mqtt import LOGIN, mqtt_arguments, mqtt_port
from tests.support.servers.process import PASSWORD
from tests.support.waiting import PATIENCE, wait_until

SILENT, FLOODS, CLIENTS, LOST = 2000, 8, 20, 200
LOST_SECONDS = 10
"""Seconds within which all are ended. Each is after five or six."""

HANDSHAKE_SECONDS = 2
MEGABYTES = 30
RATE_TOO_HIGH, KEEP_ALIVE_TIMEOUT = 0x96, 0x8D
CREDENTIALS = field(LOGIN.encode()) + field(PASSWORD.encode())
PINGREQ = packet(0xC0)


@pytest.fixture
def server(start, tmp_path):
    server = start("--storage", "memory:", *mqtt_arguments(tmp_path), DHTWISTED_LIMITS_HANDSHAKE_TIMEOUT=f"{HANDSHAKE_SECONDS}s")
    server.mqtt_port = mqtt_port(server)
    # Passwords are slow the first time, and threads take memory.
    open_client(server, "first").close()
    yield server
    assert server.process.poll() is None
    assert "Traceback" not in server.log, server.log
    open_client(server, "last").close()


def open_socket(server):
    connection = socket.create_connection(("127.0.0.1", server.mqtt_port), PATIENCE)
    connection.settimeout(PATIENCE)
    return connection


def open_client(server, name, version=5):
    """A connection whose CONNECT was accepted."""
    connection = open_socket(server)
    connection.sendall(connect(version, 0xC2, field(name.encode()) + CREDENTIALS))
    answer = connection.recv(1000)
    assert (answer[0], answer[3]) == (0x20, 0), answer
    return connection


def rest_of(connection):
    """All that comes until the end of a connection."""
    data = b""
    with suppress(ConnectionError):
        while part := connection.recv(65536):
            data += part
    connection.close()
    return data


def last_reason(data):
    """The reason code of a DISCONNECT of MQTT 5.0 at the end of what has come."""
    decoder = ReplyDecoder(5)
    return decoder.feed(data)[-1].reason_code


class Witness:
    """A client that pings and publishes to itself meanwhile, and notes the longest time that it waits. A context manager."""

    def __init__(self, server):
        self._connection = open_client(server, "witness", 4)
        self._connection.sendall(with_id(4, 0x82, field(b"witness") + b"\0"))
        assert self._connection.recv(5, socket.MSG_WAITALL) == packet(0x90, b"\0\x01\0")
        self.longest, self.count = 0.0, 0
        self._is_over = Event()
        self._thread = Thread(target=self._look)

    def _look(self):
        data = publish(4, topic=b"witness")
        while not self._is_over.is_set():
            begun = time.monotonic()
            self._connection.sendall(data)
            assert self._connection.recv(len(data), socket.MSG_WAITALL) == data
            self.longest = max(self.longest, time.monotonic() - begun)
            self.count += 1
            self._is_over.wait(0.01)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *error):
        if error[0] is None:
            wait_until(lambda: self.count > 10 or not self._thread.is_alive(), "the others are not served")
        self._is_over.set()
        self._thread.join()
        self._connection.close()
        if error[0] is None:
            assert self.count > 10
            assert self.longest < 1, f"the others waited {self.longest:.2f} s"


def test_two_thousand_that_say_nothing(server):
    if raise_own_file_limit() < SILENT + 500:
        pytest.skip(f"{SILENT} connections need a higher limit of open files (ulimit -n)")
    files, memory = open_files(server), resident(server)
    with Witness(server):
        silent = [open_socket(server) for _ in range(SILENT)]
        grown = resident(server) - memory
        assert [rest_of(connection) for connection in silent] == [b""] * SILENT
        wait_until(lambda: open_files(server) <= files + 5, "their descriptors stay")
    assert grown < MEGABYTES


@pytest.mark.parametrize("version", [4, 5])
def test_floods_of_pings(server, version):
    with Witness(server):
        floods = [open_client(server, f"flood-{number}", version) for number in range(FLOODS)]
        for connection in floods:
            with suppress(ConnectionError):
                connection.sendall(PINGREQ * 50_000)
        ends = [rest_of(connection) for connection in floods]
    if version == 5:
        assert {last_reason(data) for data in ends} == {RATE_TOO_HIGH}


def test_floods_of_publishes_and_subscriptions(server):
    """They are legal; but they do not keep others waiting, and what they leave behind is bounded."""
    memory = resident(server)
    load = publish(4, topic=b"flood") * 20_000 + b"".join(
        with_id(4, 0x82, field(b"f/%d" % number) + b"\0", packet_id=(number % 60_000 + 1).to_bytes(2, "big")) for number in range(5000)
    )
    with Witness(server):
        floods = [open_client(server, f"flood-{number}", 4) for number in range(FLOODS)]
        threads = [Thread(target=pour, args=(connection, load + PINGREQ)) for connection in floods]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert resident(server) - memory < 2 * MEGABYTES


def pour(connection, data):
    """Send everything while reading what comes, up to the last PINGRESP."""
    reader = Thread(target=connection.sendall, args=(data,))
    reader.start()
    received = b""
    while not received.endswith(b"\xd0\x00"):
        received = received[-2:] + connection.recv(65536)
    reader.join()
    connection.close()


def test_half_open_peers_and_those_who_stop_in_a_packet(server):
    """A packet that never becomes whole, and a client that has closed its side without a word."""
    files = open_files(server)
    with Witness(server):
        open_still = []
        for number in range(CLIENTS):
            connection = open_client(server, f"cut-{number}", 4)
            connection.sendall(b"\x30" + varint(900_000) + field(b"a") + b"x" * 1000)
            connection.shutdown(socket.SHUT_WR)
            open_still.append(connection)
            half = open_socket(server)
            half.sendall(connect()[:7])
            open_still.append(half)
        for connection in open_still:
            assert rest_of(connection) == b""
        wait_until(lambda: open_files(server) <= files + 5, "their descriptors stay")


def test_keep_alive_ends_who_says_nothing(server):
    connection = open_socket(server)
    connection.sendall(connect(5, 0xC2, field(b"quiet") + CREDENTIALS, keep_alive=1))
    begun = time.monotonic()
    assert last_reason(rest_of(connection)) == KEEP_ALIVE_TIMEOUT
    assert 1 < time.monotonic() - begun < 5


@pytest.mark.parametrize("version", [4, 5])
def test_peers_whose_packets_are_lost(server, version):
    """Neither bytes nor the end of a connection pass any more, as when the power of many devices fails. The server goes on sending to them;
    each is ended after one and a half times its keep alive, with its will, and its session is kept.
    """
    token = server.connect().call("token", login=LOGIN, password=PASSWORD)["accessToken"].encode()
    watcher, speaker = open_client(server, "watcher", 4), open_client(server, "speaker", 4)
    watcher.sendall(with_id(4, 0x82, field(b"will/+") + b"\0"))
    assert watcher.recv(5, socket.MSG_WAITALL) == packet(0x90, b"\0\1\0")
    files = open_files(server)
    with FaultProxy(server.mqtt_port) as network, Witness(server):
        lost = [open_lost(network.port, number, version, token) for number in range(LOST)]
        network.freeze()
        begun = time.monotonic()
        for _ in range(100):
            speaker.sendall(packet(0x32, field(b"news"), b"\0\1", b"x" * 1000))
            assert speaker.recv(4, socket.MSG_WAITALL) == packet(0x40, b"\0\1")
        size = len(will_of(0, 4))
        wills = b""
        while len(wills) < LOST * size:
            wills += watcher.recv(65536)
        took = time.monotonic() - begun
        wait_until(lambda: open_files(server) <= files + 5, "their descriptors stay")
    assert sorted(wills[at : at + size] for at in range(0, len(wills), size)) == [will_of(number, 4) for number in range(LOST)]
    assert took < LOST_SECONDS
    for connection in (*lost, watcher, speaker):
        connection.close()


def will_of(number, version):
    return publish(version, topic=b"will/%04d" % number)


def open_lost(port, number, version, token):
    """A client with a keep alive of three seconds, a will, a session that is kept, and a subscription."""
    connection = socket.create_connection(("127.0.0.1", port), PATIENCE)
    connection.settimeout(PATIENCE)
    will = (b"\0" if version == 5 else b"") + field(b"will/%04d" % number) + field(b"payload")
    fields = field(b"lost-%04d" % number) + will + field(b"token") + field(token)
    connection.sendall(connect(version, 0xC4, fields, keep_alive=3, properties=b"\x11\0\0\x0e\x10"))
    assert connection.recv(1000)[0] == 0x20
    connection.sendall(with_id(version, 0x82, field(b"news") + b"\1"))
    assert connection.recv(1000)[0] == 0x90
    return connection


def test_slow_readers(server):
    """Those who subscribe and read nothing are cut off; the memory for them is bounded."""
    memory = resident(server)
    slow = [open_client(server, f"slow-{number}", 4) for number in range(CLIENTS)]
    for connection in slow:
        connection.sendall(with_id(4, 0x82, field(b"news") + b"\0"))
    speaker = open_client(server, "speaker", 4)
    news = packet(0x32, field(b"news"), b"\0\1", b"x" * 20_000)
    with Witness(server):
        end = time.monotonic() + 2 * PATIENCE
        while server.log.count("closed: the client does not read what is sent") < CLIENTS and time.monotonic() < end:
            speaker.sendall(news)
            assert speaker.recv(4, socket.MSG_WAITALL) == packet(0x40, b"\0\1")
    assert server.log.count("closed: the client does not read what is sent") == CLIENTS
    assert resident(server) - memory < 3 * MEGABYTES
    for connection in slow:
        connection.close()
    speaker.close()


def test_everything_that_breaks_the_standard(server):
    """Each malformed packet has its reason code, in each version that has one, while others are served."""
    wrong = []
    with Witness(server):
        for broken in BROKEN_PACKETS:
            for version in broken.versions:
                connection = open_client(server, "broken", version)
                connection.sendall(broken.of(version))
                data = rest_of(connection)
                if (last_reason(data) if version == 5 else data) != (broken.reason_code if version == 5 else b""):
                    wrong.append((broken.name, version, data))
        for broken in BROKEN_CONNECTS:
            for version in broken.versions:
                connection = open_socket(server)
                connection.sendall(broken.of(version))
                data = rest_of(connection)
                if version != 5 and data[:1] not in (b"", b"\x20"):
                    wrong.append((broken.name, version, data))
                if version == 5 and data and data[3] != broken.reason_code:
                    wrong.append((broken.name, version, data))
    assert not wrong


NONSENSE = {
    "zeros": b"\x00" * 100_000,
    "ones": b"\xff" * 100_000,
    "HTTP": b"GET / HTTP/1.1\r\n\r\n" * 5000,
    "an immense CONNECT": b"\x10\xff\xff\xff\x7f" + b"x" * 200_000,
    "all bytes": bytes(range(256)) * 400,
}


@pytest.mark.parametrize("garbage", NONSENSE.values(), ids=NONSENSE)
def test_garbage(server, garbage):
    memory = resident(server)
    with Witness(server):
        connections = [open_socket(server) for _ in range(CLIENTS)]
        for connection in connections:
            with suppress(ConnectionError):
                connection.sendall(garbage)
        ends = [rest_of(connection) for connection in connections]
    assert set(ends) <= {b"", b"\x20\x02\x00\x01"}
    assert resident(server) - memory < MEGABYTES

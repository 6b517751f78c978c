"""The proxy breaks as it says, seen from a plain client and from a client of the database."""

import socket
import threading
import time
from contextlib import closing

import psycopg2
import pytest

from tests.support.proxy import FaultProxy
from tests.support.waiting import wait_until

SECONDS = 30
A_WHILE = 0.2
"""Seconds in which something that does not come would have come."""


class Echo(threading.Thread):
    """A server of one connection after the other, that sends back what it gets."""

    def __init__(self):
        super().__init__(daemon=True)
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.connections = []

    def stop(self):
        """Listen no more."""
        if self.listener.fileno() != -1:
            self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()

    def run(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self.serve, args=[connection], daemon=True).start()

    def serve(self, connection):
        try:
            while data := connection.recv(2**16):
                connection.sendall(data)
            connection.sendall(b"the end")
        except ConnectionError as error:
            self.error = error
        connection.close()


@pytest.fixture
def echo():
    server = Echo()
    server.start()
    yield server
    server.stop()


@pytest.fixture
def proxy(echo):
    with FaultProxy(echo.port) as proxy:
        yield proxy


@pytest.fixture
def connect(proxy):
    """A function that opens connections through the proxy."""
    connections = []

    def connect_once():
        connections.append(socket.create_connection(("127.0.0.1", proxy.port), SECONDS))
        return connections[-1]

    yield connect_once
    for connection in connections:
        connection.close()


def receive(connection, count):
    """The next bytes, so many."""
    received = b""
    while len(received) < count:
        data = connection.recv(count - len(received))
        assert data, f"the connection was closed after {received}"
        received += data
    return received


def call(connection, data=b"hello"):
    """Send something, which comes back."""
    sending = threading.Thread(target=connection.sendall, args=[data])
    sending.start()
    answer = receive(connection, len(data))
    sending.join()
    return answer


def silent(connection):
    """Whether nothing comes for a while, no end either."""
    connection.settimeout(A_WHILE)
    try:
        connection.recv(1)
    except TimeoutError:
        return True
    finally:
        connection.settimeout(SECONDS)
    return False


def test_passes_on_both_ways_and_each_end(proxy, connect):
    connection = connect()
    assert call(connection) == b"hello"
    large = bytes(range(256)) * 10_000
    assert call(connection, large) == large
    assert (proxy.accepted, proxy.open) == (1, 1)
    connection.shutdown(socket.SHUT_WR)
    assert receive(connection, 7) == b"the end"
    assert connection.recv(1) == b""
    wait_until(lambda: proxy.open == 0, "the connection is not closed")
    assert proxy.accepted == 1


def test_cut_resets_both_sides_and_then_serves_again(proxy, echo, connect):
    first, second = connect(), connect()
    call(first), call(second)
    proxy.cut()
    assert proxy.open == 0
    for connection in (first, second):
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    wait_until(lambda: isinstance(getattr(echo, "error", None), ConnectionResetError), "the server sees no reset")
    assert call(connect()) == b"hello"
    assert proxy.accepted == 3


def test_refused_until_accepted(proxy, connect):
    before = connect()
    call(before)
    for _ in range(2):
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            connect()
        assert call(before) == b"hello", "what is open goes on"
        proxy.accept()
        assert call(connect()) == b"hello"


def test_a_server_that_is_not_there_resets(proxy, echo, connect):
    echo.stop()
    with pytest.raises(ConnectionResetError):
        connect().recv(1)


def test_frozen_nothing_passes_and_thawed_nothing_is_lost(proxy, echo, connect):
    before = connect()
    call(before)
    proxy.freeze()
    during, gone = connect(), connect()
    for connection in (before, during):
        connection.sendall(b"wait")
    gone.close()
    assert silent(before) and silent(during)
    echo.connections[0].sendall(b"from the server")
    assert silent(before)
    assert len(echo.connections) == 1
    proxy.thaw()
    assert receive(before, 19) in (b"from the serverwait", b"waitfrom the server")
    assert receive(during, 4) == b"wait"


def test_cut_while_frozen(proxy, connect):
    before = connect()
    call(before)
    proxy.freeze()
    during = connect()
    wait_until(lambda: proxy.open == 2, "the connection is not accepted")
    proxy.cut()
    for connection in (before, during):
        with pytest.raises(ConnectionResetError):
            connection.recv(1)
    proxy.thaw()
    assert call(connect()) == b"hello"


def test_delayed_but_as_much_at_once(proxy, connect):
    connection = connect()
    call(connection)
    proxy.delay(0.1)
    large = b"x" * 3_000_000
    began = time.monotonic()
    assert call(connection, large) == large
    assert 0.2 <= time.monotonic() - began < 5, "once each way, not once for each piece"
    proxy.delay(0)
    assert call(connection) == b"hello"


@pytest.mark.slow
@pytest.mark.lowest
def test_a_database_through_it(own_postgres):
    database = own_postgres.dsn()
    with FaultProxy(own_postgres.port) as proxy:
        with closing(psycopg2.connect(proxy.dsn(database))) as connection:
            cursor = connection.cursor()
            cursor.execute("SELECT 1")
            proxy.cut()
            with pytest.raises(psycopg2.OperationalError):
                cursor.execute("SELECT 1")
        proxy.refuse()
        with pytest.raises(psycopg2.OperationalError, match="refused"):
            psycopg2.connect(proxy.dsn(database))
        proxy.accept()
        proxy.freeze()
        with pytest.raises(psycopg2.OperationalError, match="timeout expired"):
            psycopg2.connect(proxy.dsn(database), connect_timeout=1)
        proxy.thaw()
        with closing(psycopg2.connect(proxy.dsn(database))) as connection:
            assert connection.info.port == proxy.port

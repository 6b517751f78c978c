"""A reactor that watches sockets which somebody else closes."""

import os
import socket

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from dhtwisted.providers.postgres.watching import WatchingReactor


class Watched:
    """Has a socket that it opens and closes as it likes, like libpq."""

    def __init__(self):
        self.mine, self.other = socket.socketpair()
        self.read = Deferred()
        self.lost = Deferred()

    def pollable(self):
        return self.mine

    def logPrefix(self):
        return "watched"

    def doRead(self):
        self.reactor.removeReader(self)
        self.read.callback(self.mine.recv(100))

    def doWrite(self):
        self.reactor.removeWriter(self)
        self.read.callback("writable")

    def connectionLost(self, reason):
        self.lost.callback(reason.type.__name__)


@pytest.fixture
def watching(reactor):
    watching = WatchingReactor(reactor)
    yield watching
    watching.remove_all()


@pytest.fixture
def watched(watching):
    watched = Watched()
    watched.reactor = watching
    yield watched
    watched.mine.close()
    watched.other.close()


@pytest_twisted.ensureDeferred
async def test_what_can_be_read_and_written_is_told(watching, watched):
    watching.addReader(watched)
    watching.addReader(watched)
    watched.other.send(b"hello")
    assert await watched.read == b"hello"
    watched.read = Deferred()
    watching.addWriter(watched)
    assert await watched.read == "writable"


@pytest_twisted.ensureDeferred
async def test_the_next_socket_of_the_same_number_is_watched(watching, watched, reactor):
    watching.addReader(watched)
    number = watched.mine.fileno()
    watched.mine.close()
    successor = Watched()
    assert successor.mine.fileno() == number
    successor.reactor = reactor
    successor.fileno = successor.mine.fileno
    reactor.addReader(successor)
    successor.other.send(b"hello")
    assert await successor.read == b"hello"
    watching.removeReader(watched)
    successor.mine.close()
    successor.other.close()


@pytest_twisted.ensureDeferred
async def test_a_socket_that_is_closed_already_is_told_as_lost(watching, watched):
    watched.mine.close()
    watching.addReader(watched)
    assert await watched.lost == "ConnectionLost"


def test_nothing_is_left_open(watching, watched):
    before = len(os.listdir("/proc/self/fd"))
    watching.addReader(watched)
    watching.addWriter(watched)
    watching.removeWriter(watched)
    watching.remove_all()
    watching.removeReader(watched)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest_twisted.ensureDeferred
async def test_one_that_fails_takes_no_watch_from_another(watching, watched, reactor):
    def fail():
        watching.removeReader(watched)
        # It gets the number that was free just now.
        watching.addReader(other)
        raise ZeroDivisionError

    other = Watched()
    other.reactor = watching
    watched.doRead = fail
    watching.addReader(watched)
    watched.other.send(b"hello")
    assert await watched.lost == "ZeroDivisionError"
    other.other.send(b"hello")
    assert await other.read.addTimeout(10, reactor) == b"hello"
    other.mine.close()
    other.other.close()


@pytest_twisted.ensureDeferred
async def test_one_whose_end_the_reactor_found_is_watched_again_when_asked(watching, watched, reactor):
    watching.addWriter(watched)
    (watch,) = (each for each in reactor.getWriters() if getattr(each, "_watched", None) is watched)
    reactor.removeWriter(watch)
    watch.connectionLost(Failure(ConnectionLost()))
    assert await watched.lost == "ConnectionLost"
    watching.addWriter(watched)
    assert await watched.read.addTimeout(10, reactor) == "writable"

"""Each front's client is what handlers may take it for."""

import pytest
from zope.interface.verify import verifyObject

from dhtwisted.core.client import IClient, IPollingClient, ISubscriber
from dhtwisted.fronts.rest.caller import Caller
from dhtwisted.interfaces import IConnection, IOutput
from dhtwisted.testing.server import MemoryServer, at_once


@pytest.fixture
def session(reactor):
    return at_once(MemoryServer.open(reactor, hash_password=False)).connect().session


@pytest.fixture
def caller():
    return Caller("192.0.2.1", "ws://hive.example/api/websocket", 7)


def test_a_session_is_a_subscriber(session):
    assert verifyObject(ISubscriber, session)
    assert verifyObject(IClient, session)
    assert verifyObject(IOutput, session.output)


def test_a_rest_caller_is_a_polling_client(caller):
    assert verifyObject(IPollingClient, caller)
    assert verifyObject(IClient, caller)
    assert verifyObject(IConnection, caller.output)


def test_what_a_front_lacks_is_refused_and_not_written(session, caller):
    with pytest.raises(TypeError):
        ISubscriber(caller)
    with pytest.raises(TypeError):
        IPollingClient(session)


def test_a_wait_ends_once_when_the_caller_goes(caller):
    ended = []
    caller.end_when_gone(lambda: ended.append("first"))
    caller.end_when_gone(lambda: ended.append("second"))
    caller.close()
    assert ended == ["second"]
    caller.end_when_gone(None)
    caller.close()
    assert ended == ["second"]

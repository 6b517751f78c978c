"""A broker of MQTT in memory."""

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred

from tests.support.mqtt.clients import Mqtt
from tests.support.mqtt.devices import Hive


@pytest.fixture
def open_mqtt(reactor):
    """Opens brokers: ``open_mqtt(device_topics=None, **settings of [mqtt])``."""

    def open_one(*arguments, **settings):
        return Mqtt.open(reactor, *arguments, **settings)

    return open_one


@pytest.fixture
def mqtt(open_mqtt):
    """A broker with plain topics on which everybody may do everything."""
    return open_mqtt()


@pytest.fixture
def open_hive(reactor):
    """Opens servers with the topics of DeviceHive: ``open_hive(after=None, **settings of [mqtt])``."""

    opened = []

    def open_one(after=None, **settings):
        opened.append(Hive.open(reactor, after=after, **settings))
        return opened[-1]

    yield open_one
    for hive in reversed(opened):
        pytest_twisted.blockon(Deferred.fromCoroutine(hive.close()))


@pytest.fixture
def hive(open_hive):
    """A server with the topics of DeviceHive, two users and two devices; see :class:`~tests.support.mqtt.devices.Hive`."""
    return open_hive()

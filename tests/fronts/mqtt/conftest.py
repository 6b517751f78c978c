"""A broker of MQTT in memory."""

import pytest

from tests.support.mqtt.clients import Mqtt


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

"""kill -9 under load of MQTT clients that keep their sessions: paho-mqtt publishes and subscribes, below ``dh/`` and on plain topics, on
``file:`` and on PostgreSQL.
"""

import os

import pytest
from paho.mqtt.client import MQTTv5, MQTTv311

from tests.support.servers.mqtt import Restarting
from tests.support.servers.mqtt_peers import MqttLoad
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

ROUNDS = int(os.environ.get("TESTS_OF_DHTWISTED_ROUNDS", "3"))
VERSIONS = pytest.mark.parametrize("version", [MQTTv311, MQTTv5], ids=["3.1.1", "5.0"])
TOPICS = pytest.mark.parametrize("is_plain", [False, True], ids=["dh", "plain"])


@VERSIONS
@TOPICS
@pytest.mark.parametrize("kind", ["file", "postgres"])
def test_nothing_is_lost_and_nothing_with_qos_2_comes_twice(request, tmp_path, kind, is_plain, version, record_property):
    storage = "file:hive.sqlite" if kind == "file" else f"postgres:{request.getfixturevalue('database')}"
    with Restarting(tmp_path, storage) as server, MqttLoad((server.port, server.port), version, is_plain) as load:
        for _ in range(ROUNDS):
            load.round(server.restart)
        record_property("counts", load.judge())


@VERSIONS
@TOPICS
def test_postgres_dies_and_comes_back(tmp_path, own_postgres, is_plain, version, record_property):
    """The server goes on. Clients are not acknowledged meanwhile; those whose publish cannot be stored come again and send it again."""

    def crash():
        own_postgres.kill()
        own_postgres.start()

    storage = f"postgres:{own_postgres.dsn('postgres')}"
    with Restarting(tmp_path, storage) as server, MqttLoad((server.port, server.port), version, is_plain) as load:
        load.publishers[2].is_unknown_refused = True
        for _ in range(ROUNDS):
            load.round(crash)
        record_property("counts", load.judge(in_doubt=is_plain or version == 5))
        wait_until(lambda: server.server.process.poll() is None, "the server has ended")

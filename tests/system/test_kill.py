"""kill -9 under load: nothing that was acknowledged is lost, on ``file:`` storage."""

import os
import random
import threading

import pytest

from tests.support.ports import free_port
from tests.support.servers.load import Load

pytestmark = pytest.mark.slow

ROUNDS = int(os.environ.get("TESTS_OF_DHTWISTED_ROUNDS", "3"))
"""Set TESTS_OF_DHTWISTED_ROUNDS=20 for a longer run."""


def test_nothing_acknowledged_is_lost(start):
    endpoint = f"tcp:{free_port()}:interface=127.0.0.1"
    server = start("--storage", "file:hive.sqlite", endpoint=endpoint)
    with Load([server.url()], writers=4, readers=[server.url()]) as load:
        for _ in range(ROUNDS):
            load.go_on(200)
            threading.Event().wait(random.uniform(0, 0.05))
            server.kill()
            server = start("--storage", "file:hive.sqlite", endpoint=endpoint)
        load.go_on(1)
        report = load.report()
    assert report.faults == {}
    assert report.acknowledged >= 800 * ROUNDS

"""Requests that come in one read have the same effect as the same requests one by one.

A read of one frame is the reference. Compared is all that anybody can see: replies and events of each connection in their order, what is
stored, counters, quotas, audit, traces and the log. Only this may differ: where a connection gets events while its inserts are answered,
which of the two comes first.
"""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.defer import Deferred

from dhtwisted.providers.postgres.storage import PostgresStorage
from dhtwisted.providers.sqlite.storage import FileStorage
from tests.support.reads import steps
from tests.support.reads.committing import CommittingStorage
from tests.support.reads.hive import play, play_on

some = settings(max_examples=60, derandomize=True)
fewer = settings(max_examples=40, derandomize=True)
on_disk = settings(max_examples=8, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
FEW = {"requests": 6, "stored_per_day": 20_000, "device_stored_per_day": 6000, "administrators": 1}
"""Quotas that are soon used up."""


def check(reactor, moves, storage=None, **sections):
    """Play the same, once with a read for each frame."""
    expected, found = (play(reactor, [*steps.opening(), *moves], is_cut, storage, **sections) for is_cut in (False, True))
    compare(expected, found)


def compare(expected, found):
    for name in expected:
        assert found[name] == expected[name], name


anything = steps.joined(steps.several, steps.several, steps.long, steps.controls, steps.ends, steps.time, steps.losses)
on_a_disk = steps.joined(steps.alone, steps.alone, steps.controls).map(steps.without_replays)
waiting = steps.joined(steps.several, steps.several, steps.held, steps.held, steps.failing, steps.time, steps.losses)


@some
@given(anything)
def test_in_memory(reactor, moves):
    check(reactor, moves)


@some
@given(waiting)
def test_where_the_storage_is_waited_for(reactor, moves):
    check(reactor, moves, CommittingStorage)


@fewer
@given(steps.joined(steps.several, steps.long, steps.time))
def test_at_the_end_of_quotas(reactor, moves):
    check(reactor, moves, quotas=FEW)


@fewer
@given(waiting)
def test_at_the_end_of_quotas_where_the_storage_is_waited_for(reactor, moves):
    check(reactor, moves, CommittingStorage, quotas=FEW)


@fewer
@given(steps.joined(steps.alone))
def test_above_a_rate(reactor, moves):
    """Pings come by the clock, and so between other replies."""
    check(reactor, moves, limits={"requests_per_second": 5, "ping_interval": 0.0})


@fewer
@given(steps.joined(steps.several, steps.unread, steps.unread, steps.time))
def test_for_clients_that_do_not_read(reactor, moves):
    check(reactor, moves)


@fewer
@given(
    steps.joined(steps.several, steps.several, steps.losses),
    st.sampled_from([None, CommittingStorage]),
    st.sampled_from(["device:d1", "user:2"]),
)
def test_for_those_who_are_traced(reactor, moves, storage, target):
    check(reactor, moves, storage, log={"trace": (target,)})


async def check_on(reactor, moves, open_one):
    """As :func:`check`, each time on a new storage."""
    outcomes = []
    for is_cut in (False, True):
        storage = open_one()
        await storage.open()
        outcomes.append(await play_on(reactor, [*steps.opening(), *moves], is_cut, storage))
        await storage.close()
    compare(*outcomes)


@on_disk
@given(on_a_disk)
def test_on_a_file(reactor, tmp_path_factory, moves):
    def open_one():
        return FileStorage(str(tmp_path_factory.mktemp("data") / "data.sqlite"), reactor)

    return Deferred.fromCoroutine(check_on(reactor, moves, open_one))


@pytest.mark.slow
@on_disk
@given(on_a_disk)
def test_on_postgres(reactor, postgres, moves):
    async def on_postgres():
        databases = [postgres.create_database() for _ in range(2)]
        opened = (PostgresStorage(database, reactor) for database in databases)
        await check_on(reactor, moves, lambda: next(opened))
        for database in databases:
            postgres.drop_database(database)

    return Deferred.fromCoroutine(on_postgres())

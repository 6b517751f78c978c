"""The worker thread: order, errors, its bound, and its end."""

import threading
from unittest.mock import patch

import pytest
import pytest_twisted
from twisted.internet.defer import gatherResults

from dhtwisted.errors import Overloaded, StorageUnavailable
from dhtwisted.kit.worker import Worker


@pytest.fixture
def worker(reactor):
    worker = Worker(reactor, "tested worker", max_waiting=3)
    yield worker
    if any(thread.name == "tested worker" for thread in threading.enumerate()):
        pytest_twisted.blockon(worker.stop(int))


@pytest_twisted.ensureDeferred
async def test_runs_in_one_thread_in_order(worker):
    ran = []
    threads = await gatherResults([worker.call(lambda n=n: (ran.append(n), threading.current_thread())[1]) for n in range(3)])
    assert ran == [0, 1, 2]
    assert {thread.name for thread in threads} == {"tested worker"}


@pytest_twisted.ensureDeferred
async def test_answers_in_the_thread_of_the_reactor(worker):
    thread = await worker.call(int).addCallback(lambda _: threading.current_thread())
    assert thread is threading.current_thread()


@pytest_twisted.ensureDeferred
async def test_what_waits_can_be_dropped_and_what_runs_is_finished(worker):
    begun, go_on = threading.Event(), threading.Event()
    running = worker.call(lambda: (begun.set(), go_on.wait(), 7)[-1])
    begun.wait()
    waiting = worker.call(int)
    worker.drop()
    with pytest.raises(StorageUnavailable):
        await waiting
    go_on.set()
    assert await running == 7
    assert await worker.call(lambda: 8) == 8


@pytest_twisted.ensureDeferred
async def test_an_error_reaches_the_caller_and_ends_nothing(worker):
    with pytest.raises(ZeroDivisionError):
        await worker.call(lambda: 1 / 0)
    assert await worker.call(lambda: 7) == 7


@pytest_twisted.ensureDeferred
async def test_too_many_are_refused(worker):
    busy, release = threading.Event(), threading.Event()
    first = worker.call(lambda: (busy.set(), release.wait()))
    busy.wait()
    accepted = [worker.call(int) for _ in range(3)]
    with pytest.raises(StorageUnavailable):
        worker.call(int)
    release.set()
    await gatherResults([first, *accepted])


@pytest_twisted.ensureDeferred
async def test_stopping_finishes_what_was_handed_in(worker):
    ran = []
    for number in range(3):
        worker.call(ran.append, number)
    assert await worker.stop(lambda: "last") == "last"
    assert ran == [0, 1, 2]
    assert all(thread.name != "tested worker" for thread in threading.enumerate())
    with pytest.raises(StorageUnavailable):
        worker.call(int)


@pytest_twisted.ensureDeferred
async def test_what_has_waited_too_long_is_not_begun(worker):
    begun, go_on, ran = threading.Event(), threading.Event(), []
    running = worker.call(lambda: (begun.set(), go_on.wait(), 7)[-1])
    begun.wait()
    with patch("dhtwisted.kit.worker.PATIENCE", 0):
        late = worker.call(ran.append, "late")
    go_on.set()
    assert await running == 7
    with pytest.raises(Overloaded):
        await late
    assert ran == []

import os
from dataclasses import replace

import pytest

from bench.figures import Lost
from bench.filling import Filling
from bench.machine import Cores
from bench.plan import QUICK, Bench
from bench.rows import stored
from bench.rows.start import start_full


@pytest.fixture
def bench(tmp_path, monkeypatch):
    """A benchmark with few messages; what it keeps ends with the test."""
    for name, value in {"NEWEST": 10, "REPLAYED": 20, "MANY": 2}.items():
        monkeypatch.setattr(stored, name, value)
    everything = frozenset(os.sched_getaffinity(0))
    bench = Bench(tmp_path, Cores(everything, everything, everything), None, replace(QUICK, stored=3000, connections=20))
    with bench.kept:
        yield bench


@pytest.mark.parametrize("storage", ["memory:", "file:"])
def test_a_full_server_is_asked_again_and_again(bench, storage):
    first, again = stored.ask(storage)(bench), stored.ask(storage)(bench)
    assert first.keys() == again.keys() == {"list", "list cpu", "replay", "replay cpu", "replayed"}
    assert all(value > 0 for value in first.values())


def test_messages_that_are_not_those_asked_for_are_a_loss(bench, monkeypatch):
    newest = Filling.newest
    monkeypatch.setattr(Filling, "newest", lambda filling, count: [*newest(filling, count)[:-1], 5])
    with pytest.raises(Lost, match="messages that came are not the"):
        stored.ask("memory:")(bench)


def test_a_server_starts_with_stored_messages(bench):
    assert start_full(bench)["seconds"] > 0

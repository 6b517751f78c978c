"""Places that clients get in turn."""

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from dhtwisted.core.coroutines import run
from dhtwisted.errors import Overloaded
from dhtwisted.kit.current_client import CURRENT, run_for_client
from dhtwisted.kit.fair_queue import FairQueue


class Work:
    """What clients do at places, until a test says that it is done.

    :ivar begun: who began, in order.
    :ivar outcomes: who ended, and how.
    """

    def __init__(self, places, **options):
        self.clock = Clock()
        self.turns = FairQueue(self.clock, places, "the thing", **options)
        self.begun, self.outcomes, self._under_way = [], [], []

    def ask(self, clients):
        for client in clients:
            run_for_client(client, run, self.turns.run(self._do, client), lambda result, error: self.outcomes.append(result or error))

    async def _do(self, client):
        self.begun.append(client)
        done = Deferred()
        self._under_way.append(done)
        await done
        return client

    def finish(self, count=1):
        for _ in range(count):
            self._under_way.pop(0).callback(None)


def test_who_asks_for_much_waits_behind_themselves():
    work = Work(1)
    work.ask("aaaaaabcb")
    work.finish(9)
    assert "".join(work.begun) == "aabcabaaa"


def test_one_client_leaves_a_place_to_others():
    work = Work(3)
    work.ask("aaaa")
    assert "".join(work.begun) == "aa"
    work.ask("b")
    assert "".join(work.begun) == "aab", "at once"
    work.finish()
    work.ask("b")
    assert "".join(work.begun) == "aaba"
    work.finish(4)
    assert "".join(work.begun) == "aabaab"


def test_the_server_itself_may_have_all():
    work = Work(2)
    work.ask([None, None, None])
    assert len(work.begun) == 2


def test_one_client_may_have_all_where_a_turn_is_short():
    work = Work(2, max_places_each=2)
    work.ask("aaaab")
    work.finish(3)
    assert "".join(work.begun) == "aabaa"


def test_who_has_most_waiting_gives_way():
    work = Work(1, max_waiting=4)
    work.ask("aaaaa")
    work.ask("a")
    assert [type(outcome) for outcome in work.outcomes] == [Overloaded], "there is no room for more"
    work.ask("bc")
    assert [type(outcome) for outcome in work.outcomes] == [Overloaded] * 3, "but for others, since the last of these make it"
    work.finish(5)
    assert "".join(work.begun) == "aabca"


@pytest.mark.parametrize("places", [1, 2])
def test_strangers_get_no_more_together_than_users_however_many_they_are(places):
    work = Work(places)
    work.ask(map(str, range(20)))
    work.ask([1, 2, 2, 2])
    work.finish(24)
    assert [work.begun.index(user) for user in (1, 2)] == [places, places + 2]
    assert [index for index, client in enumerate(work.begun) if client == 2] == [places + 2, places + 4, places + 6]


def test_strangers_wait_for_users_no_longer_than_users_for_them():
    work = Work(1)
    work.ask([1, 1, 1, 1, "a", "b"])
    work.finish(6)
    assert work.begun == [1, "a", 1, "b", 1, 1]


def test_strangers_give_way_to_a_user():
    work = Work(1, max_waiting=3)
    work.ask([0, "a", "b", "c", "d", 1])
    assert [type(outcome) for outcome in work.outcomes] == [Overloaded] * 2, (
        "there is no room for the last stranger, and one went for a user"
    )
    work.finish(4)
    assert work.begun == [0, "b", 1, "c"]


def test_nobody_waits_longer_than_they_must():
    work = Work(1, patience=4)
    work.ask("ab")
    work.clock.advance(4)
    assert [str(outcome) for outcome in work.outcomes] == ["the thing was too busy: the request waited for 4 seconds"]
    work.finish()
    work.ask("c")
    assert "".join(work.begun) == "ac"
    work.finish()
    assert not work.clock.getDelayedCalls()
    assert work.turns.idle().called


def test_it_tells_when_all_is_done():
    work = Work(1)
    assert work.turns.idle().called
    work.ask("ab")
    idle = work.turns.idle()
    work.finish()
    assert not idle.called
    work.finish()
    assert idle.called


def test_who_waits_can_be_dropped():
    work = Work(1)
    work.ask("abb")
    work.turns.drop(Overloaded("over"))
    work.finish()
    assert [str(outcome) for outcome in work.outcomes] == ["over", "over", "a"]


@pytest.mark.parametrize("nested", [False, True])
@pytest_twisted.ensureDeferred
async def test_what_was_begun_for_a_client_goes_on_for_them(nested):
    seen, first, second = [], Deferred(), Deferred()

    async def inner():
        seen.append(CURRENT.client)
        await first
        seen.append(CURRENT.client)

    async def outer():
        await inner()
        await second
        seen.append(CURRENT.client)

    run_for_client("anna", run, outer() if not nested else inner(), lambda *outcome: None)
    assert CURRENT.client is None
    run_for_client("berta", first.callback, None)
    assert CURRENT.client is None
    second.callback(None)
    assert set(seen) == {"anna"}

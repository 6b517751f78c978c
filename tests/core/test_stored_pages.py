"""Entities and messages are read in pages of about a megabyte, also of a storage that does not end its answers by size."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from zope.interface import implementer_only

from dhtwisted.core.budget import Budget
from dhtwisted.core.coroutines import run
from dhtwisted.core.stored_pages import FIRST_PAGE, PAGE, PAGE_SIZE, MessagePages
from dhtwisted.interfaces import IMessageStorage
from dhtwisted.model import MessageQuery, Notification, payload_size
from dhtwisted.providers.memory import MemoryStorage

LARGEST = 1000
SIZES = st.lists(st.integers(2, LARGEST), max_size=60)


@implementer_only(IMessageStorage)
class Unbounded(MemoryStorage):
    async def find_messages(self, kind, query):
        return await super().find_messages(kind, replace(query, size=None))


def at_once(coroutine):
    """The result of a coroutine that does not wait."""
    outcome = []
    run(coroutine, lambda result, error: outcome.append((result, error)))
    ((result, error),) = outcome
    if error is not None:
        raise error
    return result


def filled(sizes, kind=MemoryStorage):
    storage = kind(Clock())
    messages = [Notification(name="n", device_id="d", network_id=1, device_type_id=1, parameters=b'"%b"' % (b"x" * (n - 2))) for n in sizes]
    storage.append(messages)
    return storage, messages


def all_pages(pages, bound):
    found, query, is_last = [], MessageQuery(), False
    while not is_last:
        page, is_last = at_once(pages.read(query, bound))
        query = pages.following(query, page)
        found.append(page)
    return found


@given(kind=st.sampled_from([MemoryStorage, Unbounded]), sizes=SIZES, bound=st.integers(1, 5000))
def test_the_pages_are_all_there_is(kind, sizes, bound):
    storage, messages = filled(sizes, kind)
    pages = all_pages(MessagePages(storage, Notification), bound)
    assert [message for page in pages for message in page] == messages
    assert all(sum(map(payload_size, page)) < bound + LARGEST for page in pages)


@given(
    kind=st.sampled_from([MemoryStorage, Unbounded]),
    sizes=SIZES,
    skip=st.integers(0, 5),
    take=st.none() | st.integers(0, 60),
    descending=st.booleans(),
)
def test_walking_gives_what_the_query_asks_for(kind, sizes, skip, take, descending):
    storage, messages = filled(sizes, kind)

    async def walked():
        return [page async for page in MessagePages(storage, Notification, page=7).walk(query)]

    query = MessageQuery(skip=skip, take=take, descending=descending)
    pages = at_once(walked())
    expected = (messages[::-1] if descending else messages)[skip:]
    assert [message for page in pages for message in page] == (expected if take is None else expected[:take])
    assert all(0 < len(page) <= 7 for page in pages)


def test_the_next_page_is_asked_for_with_a_length_that_the_last_one_makes_likely():
    class Asked(Unbounded):
        async def find_messages(self, kind, query):
            lengths.append(query.take)
            return await super().find_messages(kind, query)

    lengths = []
    storage, _ = filled([PAGE_SIZE // 4] * 60, Asked)
    all_pages(MessagePages(storage, Notification), PAGE_SIZE)
    assert lengths[0] == FIRST_PAGE
    assert max(lengths[1:]) <= 4


def test_a_storage_that_ends_its_answers_is_asked_for_a_whole_page_at_once():
    class Asked(MemoryStorage):
        async def find_messages(self, kind, query):
            lengths.append(query.take)
            return await super().find_messages(kind, query)

    lengths = []
    storage, messages = filled([100] * 100, Asked)
    assert at_once(MessagePages(storage, Notification).read(MessageQuery(take=100)))[0] == messages
    assert at_once(MessagePages(storage, Notification).read(MessageQuery())) == (messages, True)
    assert lengths == [100, PAGE]


def test_a_page_counts_while_it_is_read_and_waits_for_room():
    class Slow(MemoryStorage):
        async def find_messages(self, kind, query):
            await answer
            return await super().find_messages(kind, query)

    answer, clock, read = Deferred(), Clock(), []
    storage, _ = filled([100], Slow)
    budget = Budget(clock, PAGE_SIZE)
    for _ in range(3):
        run(MessagePages(storage, Notification, budget).read(MessageQuery()), lambda result, error: read.append(error))
    assert (budget.total, read) == (PAGE_SIZE, [])
    waiting, answer = answer, Deferred()
    waiting.callback(None)
    clock.advance(0)
    assert (budget.total, read) == (PAGE_SIZE, [None])
    answer.callback(None)
    for _ in range(4):
        clock.advance(0)
    assert (budget.total, read) == (0, [None] * 3)

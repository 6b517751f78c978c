"""Entities that are looked up together."""

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from dhtwisted.core import entity_lookups as module
from dhtwisted.core.coroutines import run
from dhtwisted.core.entity_lookups import MAX_QUERIES, EntityLookups
from dhtwisted.errors import StorageUnavailable
from dhtwisted.model import Device
from dhtwisted.providers.memory import MemoryStorage
from dhtwisted.testing.server import at_once


class SlowStorage:
    """Answers when a test says so.

    :ivar asked: the keys of each question.
    """

    def __init__(self, *entities):
        self._memory = MemoryStorage(Clock())
        for entity in entities:
            at_once(self._memory.insert(entity))
        self.asked, self._waiting = [], []

    async def get(self, kind, key):
        await self._turn([key])
        return await self._memory.get(kind, key)

    async def find(self, kind, query):
        await self._turn(sorted(query.within[kind.KEY]))
        return await self._memory.find(kind, query)

    def _turn(self, keys):
        self.asked.append(keys)
        self._waiting.append(Deferred())
        return self._waiting[-1]

    def answer(self, error=None):
        waiting = self._waiting.pop(0)
        waiting.callback(None) if error is None else waiting.errback(error)


def device(key, data=None):
    return Device(id=key, name=key, network_id=1, device_type_id=1, data=data)


def look_up(lookups, keys):
    found = {}
    for key in keys:
        run(lookups.get(Device, key), lambda entity, error, key=key: found.__setitem__(key, error or entity))
    return found


def test_what_is_ready_is_given_at_once():
    memory = MemoryStorage(Clock())
    at_once(memory.insert(device("a")))
    assert look_up(EntityLookups(memory), "ab") == {"a": device("a"), "b": None}


def test_a_thousand_lookups_are_a_few_questions():
    storage = SlowStorage(device("3"), device("900"))
    lookups = EntityLookups(storage)
    found = look_up(lookups, map(str, range(1000)))
    assert len(storage.asked) == MAX_QUERIES
    while storage._waiting:
        storage.answer()
    assert [len(keys) for keys in storage.asked] == [1, 1, 500, 498]
    assert len(found) == 1000
    assert {key: entity for key, entity in found.items() if entity is not None} == {"3": device("3"), "900": device("900")}


def test_an_answer_is_bounded_in_bytes(monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 100)
    storage = SlowStorage(*(device(key, b"1" * 40) for key in "bcdefghij"))
    lookups = EntityLookups(storage)
    found = look_up(lookups, "abcdefghijk")
    while storage._waiting:
        storage.answer()
    assert storage.asked == [["a"], ["b"], list("cdefghijk"), list("fghijk"), list("ijk")]
    assert {key for key, entity in found.items() if entity is None} == {"a", "k"}
    assert len(found) == 11


def test_a_failure_is_told_to_those_who_asked_and_the_next_question_follows():
    storage = SlowStorage(device("d"))
    found = look_up(EntityLookups(storage), "abcd")
    storage.answer(StorageUnavailable("away"))
    assert str(found["a"]) == "away"
    storage.answer()
    storage.answer()
    assert found == {"a": found["a"], "b": None, "c": None, "d": device("d")}

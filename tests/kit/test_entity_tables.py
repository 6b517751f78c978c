"""The tables of entities: what a transaction shows, and what remains of one that is forgotten."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtwisted.errors import Duplicate, Missing, Unstorable
from dhtwisted.kit.entity_tables import entity_tables, like_pattern
from dhtwisted.kit.entity_transaction import Transaction
from dhtwisted.model import EntityQuery, Network, User
from dhtwisted.testing.storage.model import is_like


@pytest.fixture
def tables():
    tables = entity_tables()
    transaction = Transaction(tables, {})
    for name in "ab":
        transaction.insert(Network(name=name))
    transaction.apply()
    return tables


def names(tables, **conditions):
    return [n.name for n in tables[Network].find(EntityQuery(**conditions))]


def test_a_transaction_sees_itself_and_the_tables_do_not(tables):
    transaction = Transaction(tables, {"network": 2})
    inserted = transaction.insert(Network(name="c"))
    transaction.update(Network, inserted.id, {"description": "seen"})
    transaction.delete(Network, 1)
    with pytest.raises(Missing):
        transaction.update(Network, 1, {"name": "d"})
    assert names(tables) == ["a", "b"]
    transaction.apply()
    assert names(tables) == ["b", "c"]
    assert tables[Network].entities[3].description == "seen"


def test_a_forgotten_transaction_leaves_no_trace(tables):
    forgotten = Transaction(tables, {"network": 2})
    forgotten.insert(Network(name="c"))
    forgotten.update(Network, 1, {"name": "d"})
    again = Transaction(tables, {"network": 2})
    assert again.insert(Network(name="c")).id == 3
    assert again.insert(Network(name="d")).id == 4


def test_unique_values_within_one_transaction(tables):
    transaction = Transaction(tables, {"network": 2})
    transaction.insert(Network(name="c"))
    with pytest.raises(Duplicate):
        transaction.insert(Network(name="c"))
    transaction.update(Network, 1, {"name": "x"})
    transaction.insert(Network(name="a"))
    with pytest.raises(Duplicate):
        transaction.update(Network, 2, {"name": "x"})


def test_two_may_exchange_their_unique_values(tables):
    transaction = Transaction(tables, {"network": 2})
    for key, name in ((1, "free"), (2, "a"), (1, "b")):
        transaction.update(Network, key, {"name": name})
    transaction.apply()
    for key, name in ((1, "b"), (2, "a")):
        assert [n.id for n in tables[Network].find(EntityQuery(equal={"name": name}))] == [key]
    with pytest.raises(Duplicate):
        Transaction(tables, {}).insert(Network(name="a"))


def test_a_change_that_is_refused_uses_up_nothing(tables):
    def refuse(entity):
        if entity.name == "bad":
            raise Unstorable("bad")

    sequences = {"network": 2}
    transaction = Transaction(tables, sequences, refuse)
    for change in (lambda: transaction.insert(Network(name="bad")), lambda: transaction.update(Network, 1, {"name": "bad"})):
        with pytest.raises(Unstorable):
            change()
    assert sequences == {"network": 2}
    transaction.apply()
    assert names(tables) == ["a", "b"]


def test_the_key_cannot_be_changed(tables):
    with pytest.raises(TypeError):
        Transaction(tables, {}).update(Network, 1, {"id": 7})


@pytest.mark.parametrize("conditions", [{"equal": {"id": 1}}, {"equal": {"name": "a"}}, {"within": {"id": frozenset({1, 9})}}])
def test_named_entities_still_have_to_meet_the_other_conditions(tables, conditions):
    assert names(tables, **conditions) == ["a"]
    assert names(tables, **conditions, like={"name": "b%"}) == []


def test_kinds_are_apart(tables):
    transaction = Transaction(tables, {})
    transaction.insert(User(login="a"))
    transaction.apply()
    assert names(tables) == ["a", "b"]


@given(st.text("ab%_.\n"), st.text("ab.\n"))
def test_patterns_are_those_of_sql(pattern, text):
    assert bool(like_pattern(pattern).fullmatch(text)) == is_like(text, pattern)


def test_a_pattern_of_many_parts_ends():
    """Backtracking would try some 10**12 ways; this must not depend on a clock, so it just has to come to an end."""
    assert not like_pattern("%a" * 30 + "%b").fullmatch("a" * 2000)


def test_an_order_that_was_asked_for_follows_every_change(tables):
    def change(method, *arguments):
        transaction = Transaction(tables, {"network": len(tables[Network].entities)})
        getattr(transaction, method)(*arguments)
        transaction.apply()

    assert names(tables, sort="name") == ["a", "b"]
    change("update", Network, 1, {"name": "c"})
    change("insert", Network(name="a"))
    assert names(tables, sort="name") == ["a", "b", "c"]
    change("update", Network, 1, {"name": "aa"})
    change("update", Network, 1, {"name": "c"})
    change("update", Network, 2, {"description": "seen"})
    assert names(tables, sort="name", descending=True) == ["c", "b", "a"]
    change("delete", Network, 2)
    assert names(tables, sort="name", descending=True) == ["c", "a"]

"""Keys in order, whatever is added and removed between two walks."""

from hypothesis import given
from hypothesis import strategies as st

from dhtwisted.kit.ordered_keys import OrderedKeys

steps = st.lists(st.tuples(st.sampled_from(["toggle", "walk"]), st.integers(0, 9), st.booleans()), max_size=40)


@given(first=st.sets(st.integers(0, 9)), steps=steps)
def test_walks_through_what_is_in(first, steps):
    keys, model = OrderedKeys(first), set(first)
    for step, key, descending in steps:
        if step == "walk":
            found = [each for each in keys.walk(descending, (key,)) if each in model]
            assert found == sorted((each for each in model if (each < key if descending else each > key)), reverse=descending)
        elif key in model:
            model.remove(key)
            keys.remove(key)
        else:
            model.add(key)
            keys.add(key)
    assert [key for key in keys.walk() if key in model] == sorted(model)


def test_what_comes_and_goes_is_forgotten_without_a_walk():
    keys = OrderedKeys([-1])
    for key in range(10_000):
        keys.add(key)
        keys.remove(key)
    assert len(list(keys.walk())) <= 1002


places = st.tuples(st.booleans(), st.integers(0, 3), st.integers(0, 5))


@given(keys=st.sets(places), after=places)
def test_walks_down_by_the_first_parts(keys, after):
    walked = OrderedKeys(keys)
    expected = sorted(keys, key=lambda key: key[2])
    expected.sort(key=lambda key: key[:2], reverse=True)
    assert list(walked.walk_down_groups(2)) == expected
    behind = [key for key in expected if key[:2] < after[:2] or (key[:2] == after[:2] and key[2] > after[2])]
    assert list(walked.walk_down_groups(2, (after,))) == behind

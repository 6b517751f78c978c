"""A cache that is bounded in number and in bytes."""

from hypothesis import given
from hypothesis import strategies as st

from dhtwisted.kit.bounded_cache import BoundedCache


@given(st.lists(st.tuples(st.sampled_from("keep keep keep forget clear".split()), st.integers(0, 9), st.binary(max_size=12))))
def test_it_is_never_heavier_than_it_may_be(steps):
    cache, kept = BoundedCache(4, 20, lambda key, value: len(value)), {}
    for step, key, value in steps:
        if step == "keep":
            cache.put(key, value)
            kept.pop(key, None)
            kept[key] = value
        elif step == "forget":
            cache.discard(key)
            kept.pop(key, None)
        else:
            cache.clear()
            kept.clear()
        while len(kept) > 4 or sum(map(len, kept.values())) > 20:
            del kept[next(iter(kept))]
        assert list(cache.items()) == list(kept.items())
        assert cache.size == sum(map(len, kept.values()))

"""Mappings that take little memory: they behave as a dict."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtwisted.fronts.mqtt.small_maps import UNUSED, FewItems

CHANGES = st.lists(st.tuples(st.sampled_from(["put", "pop", "delete"]), st.sampled_from("abc"), st.integers()))


@given(CHANGES)
def test_few_items_behave_as_a_dict(changes):
    few, model = FewItems(), {}
    for change, key, value in changes:
        if change == "put":
            few[key] = model[key] = value
        elif change == "pop":
            assert few.pop(key, None) == model.pop(key, None)
        elif key in model:
            del few[key], model[key]
        else:
            with pytest.raises(KeyError):
                del few[key]
        assert list(few.items()) == list(model.items())
        assert list(few) == list(model)
        assert list(few.values()) == list(model.values())
        assert len(few) == len(model)
        assert bool(few) == bool(model)
        assert few == model
        assert all((few.get(key), key in few) == (model.get(key), key in model) for key in "abc")


def test_what_is_not_there_is_a_key_error():
    few = FewItems()
    with pytest.raises(KeyError):
        few["a"]
    few["b"] = 1
    with pytest.raises(KeyError):
        few["a"]


@pytest.mark.parametrize("write", [lambda: UNUSED.__setitem__("a", 1), lambda: UNUSED.setdefault("a", 1), lambda: UNUSED.update(a=1)])
def test_nobody_writes_to_the_shared_dict(write):
    with pytest.raises(TypeError, match="shared"):
        write()
    assert not UNUSED


def test_the_shared_dict_is_an_empty_one():
    assert UNUSED.get("a") is None
    assert UNUSED.pop("a", None) is None
    assert "a" not in UNUSED
    UNUSED.clear()

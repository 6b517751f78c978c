"""Frames between the server and the process that writes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtwisted.providers.sqlite.steps import END, LENGTH, content_of, frame, length_of

VALUES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters()) | st.binary()


@given(st.lists(st.tuples(st.text(), st.lists(VALUES))))
def test_what_goes_in_comes_out(content):
    data = frame(content)
    assert length_of(data) == len(data) - LENGTH
    assert content_of(data[LENGTH:]) == content


def test_no_content_looks_like_the_end():
    assert length_of(END) == 0
    assert length_of(frame([])) > 0


def test_what_is_no_plain_value_is_refused():
    with pytest.raises(ValueError):
        frame([object()])

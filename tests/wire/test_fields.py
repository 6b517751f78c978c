"""Wire types that all requests share."""

import msgspec
import pytest

from dhtwisted.errors import BadRequest
from dhtwisted.wire.fields import Timestamp, check_length, decode_hook, milliseconds


def test_a_length_is_counted_in_characters():
    check_length(None, 1, 2, "name")
    check_length("ää", 1, 2, "name")
    with pytest.raises(BadRequest, match=r"^Field cannot be empty\. The length of login should be from 3 to 128 symbols\.$"):
        check_length("ää", 3, 128, "login")
    with pytest.raises(BadRequest):
        check_length("äää", 1, 2, "name")


def test_timestamps_are_the_only_type_of_ours():
    assert decode_hook(Timestamp, "2026-01-02T03:04:05.678") == 1_767_323_045_678
    with pytest.raises(ValueError):
        decode_hook(Timestamp, "soon")
    with pytest.raises(TypeError):
        decode_hook(set, [])
    assert msgspec.json.decode(b"5", type=Timestamp, dec_hook=decode_hook) == 5


def test_a_time_is_kept_as_a_plain_number():
    assert type(milliseconds(Timestamp(5))) is int
    assert milliseconds(None) is None

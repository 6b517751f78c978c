from hypothesis import given
from hypothesis import strategies as st

from bench.client import frame, texts


def as_server(payload, opcode=1):
    """A frame as a server writes it: not masked."""
    size = len(payload)
    if size < 126:
        head = bytes([0x80 | opcode, size])
    elif size < 65536:
        head = bytes([0x80 | opcode, 126]) + size.to_bytes(2, "big")
    else:
        head = bytes([0x80 | opcode, 127]) + size.to_bytes(8, "big")
    return head + payload


@given(st.lists(st.sampled_from([0, 1, 125, 126, 127, 65535, 65536]).map(lambda size: b"x" * size)), st.integers(0, 5))
def test_whole_texts_are_found_in_a_stream(payloads, cut):
    stream = b"".join(as_server(payload) + as_server(b"ping", 9) for payload in payloads)
    # The last frame is a ping, so a cut costs no text.
    assert list(texts(bytearray(stream[: len(stream) - cut]))) == payloads


def test_what_is_not_whole_is_left_out():
    assert list(texts(as_server(b"one") + as_server(b"two")[:-1])) == [b"one"]


def test_a_frame_is_masked_with_zeros():
    assert frame(b"ab") == b"\x81\x82\0\0\0\0ab"
    assert frame(b"a" * 126) == b"\x81\xfe\0\x7e\0\0\0\0" + b"a" * 126
    assert frame(b"", opcode=10) == b"\x8a\x80\0\0\0\0"

"""Text as editors leave it."""

import codecs
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtwisted.kit.text_files import BYTE_ORDER_MARK, decode_text, is_utf_16

TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0\ufeff"))


@given(TEXTS)
def test_any_text_comes_back_with_and_without_a_mark(text):
    assert decode_text(text.encode()) == decode_text(BYTE_ORDER_MARK + text.encode()) == text


@given(st.text(st.characters(min_codepoint=1, max_codepoint=127), min_size=2), st.sampled_from(["utf-16", "utf-16-le", "utf-16-be"]))
def test_utf_16_is_known(text, encoding):
    with pytest.raises(ValueError, match="is in UTF-16"):
        decode_text(text.encode(encoding))


@given(TEXTS, st.sampled_from([codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE]))
def test_a_mark_of_utf_16_is_enough_for_a_text(text, mark):
    with pytest.raises(ValueError, match="is in UTF-16"):
        decode_text(mark + text.encode("utf-16-le" if mark == codecs.BOM_UTF16_LE else "utf-16-be"))


@given(st.binary(min_size=32, max_size=64).filter(lambda data: data.count(0) < 5))
def test_bytes_of_a_key_are_not_taken_for_a_text(data):
    assert not is_utf_16(data)


def test_the_file_of_a_program_is_not_taken_for_a_text(tmp_path):
    connection = sqlite3.connect(tmp_path / "data.sqlite")
    connection.execute("CREATE TABLE a (b)")
    connection.close()
    assert not is_utf_16((tmp_path / "data.sqlite").read_bytes())


def test_another_encoding_is_named_with_its_line():
    with pytest.raises(ValueError, match="line 2"):
        decode_text("one\ngrö".encode("latin-1"))

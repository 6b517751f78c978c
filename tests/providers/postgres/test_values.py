"""How values reach PostgreSQL: whatever text, as it is."""

import psycopg2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtwisted.providers.postgres.values import (
    LARGEST,
    JoinedTexts,
    folded,
    integer_column,
    is_bigint,
    payload_column,
    text_column,
    within_range,
)

texts = st.text(st.sampled_from("ab'\\\"{},\x1f\x18\n é%$E") | st.characters(codec="utf-8", exclude_characters="\0"), max_size=6)


@pytest.fixture(scope="module")
def cursor(postgres):
    connection = psycopg2.connect(postgres.dsn())
    yield connection.cursor()
    connection.close()


@given(st.lists(st.none() | texts, max_size=6))
def test_texts_come_back(cursor, values):
    cursor.execute("SELECT %s::text[]", (text_column(values),))
    assert cursor.fetchone()[0] == values


@given(st.lists(st.none() | st.binary(max_size=0) | texts.map(str.encode), max_size=6))
def test_payloads_come_back(cursor, values):
    cursor.execute("SELECT %s::text[]", (payload_column(values),))
    assert cursor.fetchone()[0] == [None if value is None else value.decode() for value in values]


@given(st.lists(st.none() | st.integers(-(2**63), LARGEST), max_size=6))
def test_integers_come_back(cursor, values):
    cursor.execute("SELECT %s::bigint[]", (integer_column(values),))
    assert cursor.fetchone()[0] == values


def test_plain_texts_take_the_cheap_way():
    assert isinstance(text_column(["a", None, "", 'with "quotes"']), JoinedTexts)
    assert not isinstance(text_column(["a\x1fb"]), JoinedTexts)


def test_bounds():
    assert [within_range(value) for value in (-(2**70), 5, 2**70)] == [-LARGEST, 5, LARGEST]
    assert [is_bigint(value) for value in (-(2**70), 5, 2**70)] == [False, True, False]


def test_only_other_letters_are_folded_here():
    assert [folded(status) for status in (None, "Done", "ERLÖST")] == [None, None, "erlöst"]

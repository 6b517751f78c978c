"""The reader that other tests hold replies against refuses what it should."""

import pytest

from tests.support import strict_json


@pytest.mark.parametrize(
    "text",
    [
        "NaN",
        "[Infinity]",
        '{"a":-Infinity}',
        "1e999",
        "[-1e999]",
        "9" * 5000,
        '"\\ud800"',
        '["\\udc00"]',
        '{"\\ud800":1}',
        "{}{}",
        b'"\xff"',
    ],
)
def test_what_clients_stumble_over(text):
    with pytest.raises(ValueError, match="."):
        strict_json.read(text)


def test_what_they_read():
    assert strict_json.read(b'{"a":[1.5,"\\ud83d\\ude00",null]}') == {"a": [1.5, "\U0001f600", None]}

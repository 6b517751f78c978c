"""Topic names and filters: which are valid, and the parts of a filter."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtwisted.wire.mqtt.topics import LONGEST, check_topic, parse_filter

ANYTHING = st.text(st.characters(codec="utf-8"), max_size=40) | st.text("ab/+#$\0", max_size=12)


@pytest.mark.parametrize("topic", ["/", "a", "/a", "a/", "a//b", "$SYS/x", "dh/request", "ä/ü", " ", "x" * LONGEST, "a b/c"])
def test_names_of_topics(topic):
    check_topic(topic)


@pytest.mark.parametrize(
    ("topic", "words"),
    [
        ("", "is empty"),
        ("a/+", "wildcard"),
        ("#", "wildcard"),
        ("a#", "wildcard"),
        ("a\0b", "NUL"),
        ("x" * (LONGEST + 1), "65535 bytes"),
        ("ä" * (LONGEST // 2 + 1), "65535 bytes"),
        ("/" * 128, "128 levels"),
    ],
)
def test_what_is_no_name_of_a_topic(topic, words):
    with pytest.raises(ValueError, match=words):
        check_topic(topic)


@pytest.mark.parametrize(
    ("text", "group", "levels", "is_exact"),
    [
        ("a/b", "", ("a", "b"), True),
        ("/", "", ("", ""), True),
        ("#", "", ("#",), False),
        ("+", "", ("+",), False),
        ("/+", "", ("", "+"), False),
        ("+/tennis/#", "", ("+", "tennis", "#"), False),
        ("$SYS/#", "", ("$SYS", "#"), False),
        ("$share/consumer1/a/+", "consumer1", ("a", "+"), False),
        ("$share/g//a", "g", ("", "a"), True),
        ("$share/g/$SYS/x", "g", ("$SYS", "x"), True),
        ("$share/$share/a", "$share", ("a",), True),
        ("$shared/a", "", ("$shared", "a"), True),
        ("$SHARE/g/a", "", ("$SHARE", "g", "a"), True),
    ],
)
def test_parts_of_a_filter(text, group, levels, is_exact):
    assert parse_filter(text) == (text, group, levels, is_exact)
    assert parse_filter(text).pattern == "/".join(levels)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("sport+", "whole level"),
        ("sport/tennis#", "whole level"),
        ("a/++", "whole level"),
        ("sport/#/ranking", "before its end"),
        ("#/#", "before its end"),
        ("a\0", "NUL"),
        ("x" * (LONGEST + 1), "65535 bytes"),
        ("/" * 128, "128 levels"),
        ("$share/", "GROUP"),
        ("$share/g", "GROUP"),
        ("$share/g/", "GROUP"),
        ("$share//a", "GROUP"),
        ("$share/+/a", "name of its group"),
        ("$share/#", "GROUP"),
        ("$share/g#/a", "name of its group"),
        ("$share/g\0/a", "NUL"),
        ("$share/g/a/#/b", "before its end"),
        ("$share/g/" + "x" * (LONGEST - 8), "65535 bytes"),
    ],
)
def test_what_is_no_filter(text, words):
    with pytest.raises(ValueError, match=words):
        parse_filter(text)


def test_the_number_of_levels_can_be_set():
    check_topic("/" * 9999, 0)
    assert len(parse_filter("a/" * 9999 + "#", 0).levels) == 10_000
    assert parse_filter("$share/g/a/b", 2).levels == ("a", "b")
    for check in (check_topic, parse_filter):
        check("a/b", 2)
        with pytest.raises(ValueError, match="more than 1 levels"):
            check("a/b", 1)


@given(ANYTHING)
def test_any_text_without_wildcards_is_a_topic_and_a_filter_or_neither(text):
    results = []
    for check in (check_topic, parse_filter):
        try:
            check(text)
        except ValueError:
            results.append(False)
        else:
            results.append(True)
    is_topic, is_filter = results
    if text.startswith("$share/"):
        return
    if "+" in text or "#" in text:
        assert not is_topic
    else:
        assert is_topic == is_filter == (bool(text) and "\0" not in text)

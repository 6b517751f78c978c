"""What filters match and include, against matchers written apart: a regular expression, and that of paho."""

import itertools
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from paho.mqtt.client import topic_matches_sub

from dhtwisted.fronts.mqtt.filters import can_own, covers, matches, overlaps, split_owner
from dhtwisted.wire.mqtt.topics import parse_filter

NAMES = ["", "a", "b", "$a"]
TOPICS = ["/".join(names) for count in (1, 2, 3, 4) for names in itertools.product([*NAMES, "z"], repeat=count) if any(names) or count > 1]
topics = st.sampled_from(TOPICS)
filters = st.builds(
    lambda levels, end: "/".join([*levels, *end]),
    st.lists(st.sampled_from([*NAMES, "+"]), max_size=3),
    st.sampled_from([["#"], ["+"], ["a"]]),
)


def naive(pattern, topic):
    """The rules of the standard as a regular expression."""
    if topic.startswith("$") and not pattern.startswith("$"):
        return False
    expression = re.escape(pattern).replace(r"\+", "[^/]*")
    expression = re.sub(r"/\\#$", r"(/.*)?", expression)
    return re.fullmatch(".*" if pattern == "#" else expression, topic, re.DOTALL) is not None


@pytest.mark.parametrize(
    ("pattern", "topic", "expected"),
    [
        ("sport/tennis/player1/#", "sport/tennis/player1", True),
        ("sport/tennis/player1/#", "sport/tennis/player1/score/wimbledon", True),
        ("sport/#", "sport", True),
        ("sport/#", "sports", False),
        ("sport/tennis/+", "sport/tennis/player1/ranking", False),
        ("sport/+", "sport", False),
        ("sport/+", "sport/", True),
        ("+/+", "/finance", True),
        ("/+", "/finance", True),
        ("+", "/finance", False),
        ("ACCOUNTS", "Accounts", False),
        ("#", "$SYS/broker/uptime", False),
        ("+/monitor/Clients", "$SYS/monitor/Clients", False),
        ("$SYS/#", "$SYS/broker", True),
        ("$SYS/monitor/+", "$SYS/monitor/Clients", True),
        ("a/+", "a/$b", True),
    ],
)
def test_examples_of_the_standard(pattern, topic, expected):
    assert matches(parse_filter(pattern).levels, topic) is expected


@given(filters, topics)
def test_matches_as_others_do(pattern, topic):
    expected = naive(pattern, topic)
    assert matches(parse_filter(pattern).levels, topic) is expected
    assert topic_matches_sub(pattern, topic) is expected


@given(filters, filters)
@example("+/#", "#")
@example("#", "+/#")
@example("#", "$a/#")
@example("a/+/#", "a/#")
@example("a/#", "a")
@example("a", "a/#")
@example("+/+/#", "/#")
@example("+", "/#")
def test_covers_means_every_topic_of_the_inner_one(outer, inner):
    one, other = parse_filter(outer).levels, parse_filter(inner).levels
    # The empty topic cannot be published. But /# means what is below it and, as any such filter, it itself.
    heard = [topic for topic in [*TOPICS, ""] if naive(inner, topic)]
    expected = all(naive(outer, topic) for topic in heard)
    # Topics of the test have at most four levels, and filters as well: # always has a longer topic.
    assert covers(one, other) is expected
    assert overlaps(one, other) is any(naive(outer, topic) for topic in heard)


@pytest.mark.parametrize(
    ("topic", "body", "owner"),
    [
        ("dh/response/device/list@c1", "dh/response/device/list", "c1"),
        ("dh/request", "dh/request", None),
        ("dh/response/token@", "dh/response/token", ""),
        ("dh/response/token@a@b", "dh/response/token", "a@b"),
    ],
)
def test_the_owner_of_a_topic(topic, body, owner):
    assert split_owner(topic) == (body, owner)


@pytest.mark.parametrize(
    ("client_id", "fits"), [("c1", True), ("", False), ("a@b", False), ("a/b", False), ("a+", False), ("#", False), ("a\0", False)]
)
def test_client_ids_that_can_own_a_topic(client_id, fits):
    assert can_own(client_id) is fits

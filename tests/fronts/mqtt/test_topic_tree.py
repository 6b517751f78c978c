"""The tree of filters: what it finds, against a search through all filters; what it forgets; what it costs."""

import gc
import time
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from dhtwisted.fronts.mqtt.topic_tree import TopicTree
from dhtwisted.wire.mqtt.topics import parse_filter
from tests.fronts.mqtt.test_filters import naive

NAMES = ["", "a", "b", "$a"]
PATTERNS = ["#", "+", "+/#", "a", "a/#", "a/+", "a/b", "+/b", "a/+/b", "+/+/+", "a/b/#", "$a/#", "$a/+", "$a", "/", "/+", "+/"]
FILTERS = [*PATTERNS, *(f"$share/{group}/{pattern}" for group in ("g", "h") for pattern in ("#", "a/+", "a/b", "$a/#"))]
TOPICS = ["a", "b", "a/b", "a/b/a", "a/b/b", "a/a/b", "$a", "$a/b", "/", "a/", "/a", "b/b", "a/b/a/b"]


def make_tree():
    return TopicTree(lambda subscriber, subscriptions: (subscriber, sorted(subscriptions)))


def put(tree, text, subscriber, subscription=""):
    return tree.put(parse_filter(text), subscriber, subscription or text)


def discard(tree, text, subscriber):
    return tree.discard(parse_filter(text), subscriber)


def heard(tree, topic):
    """Who gets a message: subscriber -> subscriptions, and for groups name -> members."""
    found = tree.match(topic)
    return dict(found.receivers), sorted((group.name, sorted(group.members)) for group in found.groups)


class Tree(RuleBasedStateMachine):
    """Subscriptions that come and go, compared with a list of them."""

    def __init__(self):
        super().__init__()
        self.tree = make_tree()
        self.subscriptions = {}
        self.count = 0

    @rule(text=st.sampled_from(FILTERS), subscriber=st.sampled_from("xyz"))
    def put(self, text, subscriber):
        self.count += 1
        subscription = f"{text} {self.count}"
        assert put(self.tree, text, subscriber, subscription) == self.subscriptions.get((text, subscriber))
        self.subscriptions[text, subscriber] = subscription

    @rule(text=st.sampled_from(FILTERS), subscriber=st.sampled_from("xyz"))
    def discard(self, text, subscriber):
        assert discard(self.tree, text, subscriber) == self.subscriptions.pop((text, subscriber), None)

    @rule(topic=st.sampled_from(TOPICS))
    def match(self, topic):
        expected, groups = {}, {}
        for (text, subscriber), subscription in self.subscriptions.items():
            group, _, pattern = text.removeprefix("$share/").partition("/") if text.startswith("$share/") else ("", "", text)
            if naive(pattern, topic) and group:
                groups.setdefault((group, pattern), []).append(subscriber)
            elif naive(pattern, topic):
                expected.setdefault(subscriber, []).append(subscription)
        assert heard(self.tree, topic) == (
            {subscriber: sorted(subscriptions) for subscriber, subscriptions in expected.items()},
            sorted((group, sorted(members)) for (group, _), members in groups.items()),
        )

    @invariant()
    def nothing_stays_behind(self):
        if not self.subscriptions:
            assert self.tree.is_empty


TestTree = Tree.TestCase


def test_overlapping_filters_of_a_subscriber_are_one_receiver():
    tree = make_tree()
    for text in ("a/b", "a/+", "#"):
        put(tree, text, "x")
    put(tree, "a/#", "y")
    assert heard(tree, "a/b")[0] == {"x": ["#", "a/+", "a/b"], "y": ["a/#"]}
    discard(tree, "a/+", "x")
    assert heard(tree, "a/b")[0] == {"x": ["#", "a/b"], "y": ["a/#"]}


def test_a_replaced_subscription_counts_at_once():
    tree = make_tree()
    for text in ("a/b", "a/#", "$share/g/a/b"):
        assert put(tree, text, "x", "old") is None
        tree.match("a/b")
        assert put(tree, text, "x", "new") == "old"
    assert heard(tree, "a/b")[0] == {"x": ["new", "new"]}
    (group,) = tree.match("a/b").groups
    assert group.members == {"x": "new"}


def test_an_answer_stays_the_same_object_until_it_changes():
    tree = make_tree()
    put(tree, "a/b", "x")
    found = tree.match("a/b")
    put(tree, "a/c", "x")
    assert tree.match("a/b") is found
    put(tree, "a/b", "y")
    assert heard(tree, "a/b")[0].keys() == {"x", "y"}


def test_members_of_a_group_take_turns_and_absent_ones_are_passed_over():
    tree = make_tree()
    for member in "xyz":
        put(tree, "$share/g/a/#", member)
    (group,) = tree.match("a").groups
    chosen = [group.choose(lambda member: member != "y")[0] for _ in range(4)]
    assert chosen == ["x", "z", "x", "z"]
    assert [group.choose(lambda member: True)[0] for _ in range(3)] == ["y", "x", "z"]
    assert group.choose(lambda member: False) is None
    discard(tree, "$share/g/a/#", "x")
    assert sorted(group.choose(lambda member: True)[0] for _ in range(4)) == ["y", "y", "z", "z"]


def test_groups_of_the_same_name_with_different_filters_are_different():
    tree = make_tree()
    put(tree, "$share/g/a/b", "x")
    put(tree, "$share/g/a/+", "x")
    put(tree, "$share/h/a/b", "y")
    put(tree, "a/b", "x")
    assert heard(tree, "a/b") == ({"x": ["a/b"]}, [("g", ["x"]), ("g", ["x"]), ("h", ["y"])])


def test_ten_thousand_levels():
    tree = make_tree()
    topic = "/".join("x" * 10_000)
    deep = [topic, topic.replace("x", "+"), f"{topic}/#"]
    for text in deep:
        tree.put(parse_filter(text, 0), "x", text)
    assert heard(tree, topic)[0] == {"x": sorted(deep)}
    for text in deep:
        tree.discard(parse_filter(text, 0), "x")
    assert tree.is_empty
    tree.put(parse_filter(topic, 0), "x", topic)
    del tree
    gc.collect()


@given(st.lists(st.tuples(st.sampled_from(PATTERNS), st.integers(0, 5)), unique=True))
def test_a_tree_is_empty_when_all_have_left(pairs):
    tree = make_tree()
    for text, subscriber in pairs:
        put(tree, text, subscriber)
    for text, subscriber in reversed(pairs):
        assert discard(tree, text, subscriber) == text
    assert tree.is_empty


@pytest.mark.parametrize("other", ["cmnd/device-5/#", "tele/device-5/#", "+/device-5/state", "$share/g/cmnd/+", "tele/pump-2"])
def test_filters_that_cannot_match_come_and_go_without_a_new_search(other):
    tree = make_tree()
    put(tree, "tele/+/state", "x")
    found = tree.match("tele/pump-1/state")
    put(tree, other, "y")
    discard(tree, other, "y")
    assert tree.match("tele/pump-1/state") is found


def test_more_topics_and_receivers_than_the_cache_has():
    tree = make_tree()
    for subscriber in range(30):
        put(tree, "tele/#", subscriber)
    for number in range(9000):
        assert len(tree.match(f"tele/{number}").receivers) == 30
    put(tree, "tele/+", "x")
    assert all(len(tree.match(f"tele/{number}").receivers) == 31 for number in range(9000))


def test_long_topics_do_not_stay_in_memory():
    tree = make_tree()
    put(tree, "#", "x")
    tracemalloc.start()
    for number in range(400):
        tree.match(f"{number}/" + "x" * 60_000)
    for number in range(200):
        tree.match("/".join(str(number * 1000 + level) for level in range(1000)))
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size < 16 * 1024**2, "without a bound they have more than 40 MiB"


def seconds(tree, topics):
    """The processor time of a search for each topic, the least of several; nothing is taken from the cache."""
    best = float("inf")
    for _ in range(7):
        started = time.process_time()
        for topic in topics:
            tree.match(topic)
        best = min(best, time.process_time() - started)
    return best


@pytest.mark.parametrize("others", ["cmnd/device-{}/#", "+/device-{}/state", "site-{}/+/state", "tele/+/{}", "$share/g/cmnd/device-{}/+"])
def test_other_filters_cost_a_search_nothing(others):
    # More topics than the cache has: each is searched.
    topics = [f"tele/pump-{number}/state" for number in range(9000)]
    trees = make_tree(), make_tree()
    for tree in trees:
        put(tree, "tele/+/state", "x")
        put(tree, "$share/g/tele/#", "x")
    for number in range(10_000):
        put(trees[1], others.format(number), number)
    alone, among_others = (seconds(tree, topics) for tree in trees)
    # They share one node of the tree; without it the search would take a thousand times as long.
    assert among_others < 3 * alone

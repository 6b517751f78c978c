"""Topics found by filters, against a search through all topics."""

import time

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from dhtwisted.fronts.mqtt.retained_tree import RetainedTree
from dhtwisted.wire.mqtt.topics import parse_filter
from tests.fronts.mqtt.test_filters import naive
from tests.fronts.mqtt.test_topic_tree import PATTERNS, TOPICS


def find(tree, text):
    return sorted(tree.find(parse_filter(text, 0).levels))


class Topics(RuleBasedStateMachine):
    """Topics that come and go, compared with a dict of them."""

    def __init__(self):
        super().__init__()
        self.tree = RetainedTree()
        self.values = {}
        self.count = 0

    @rule(topic=st.sampled_from(TOPICS))
    def put(self, topic):
        self.count += 1
        assert self.tree.put(topic, self.count) == self.values.get(topic)
        self.values[topic] = self.count

    @rule(topic=st.sampled_from(TOPICS))
    def discard(self, topic):
        assert self.tree.discard(topic) == self.values.pop(topic, None)

    @rule(text=st.sampled_from([*PATTERNS, "b", "a/b/a", "a/b/a/b"]))
    def find(self, text):
        assert find(self.tree, text) == sorted(value for topic, value in self.values.items() if naive(text, topic))

    @rule(topic=st.sampled_from(TOPICS))
    def get(self, topic):
        assert self.tree.get(topic) == self.values.get(topic)
        assert len(self.tree) == len(self.values)


TestTopics = Topics.TestCase


def test_the_tree_may_change_during_a_search():
    tree = RetainedTree()
    for number in range(100):
        tree.put(f"a/{number}/b", number)
    found = tree.find(("a", "+", "b"))
    seen = {next(found)}
    for number in range(50):
        tree.discard(f"a/{number}/b")
        tree.put(f"a/x{number}/b", 1000 + number)
    seen |= set(found)
    assert seen >= set(range(50, 100))
    assert len(seen & set(range(50))) <= 1, "what was discarded was found, besides the first"


def test_ten_thousand_levels():
    tree = RetainedTree()
    topic = "/".join("x" * 10_000)
    tree.put(topic, 1)
    tree.put(f"{topic}/y", 2)
    assert find(tree, topic.replace("x", "+")) == [1]
    assert find(tree, f"{topic}/#") == find(tree, "#") == [1, 2]
    tree.discard(topic)
    tree.discard(f"{topic}/y")
    assert find(tree, "#") == []
    tree.put(topic, 1)
    del tree


@pytest.mark.parametrize("text", ["tele/pump-5/+", "tele/pump-5/#", "tele/pump-5/state", "cmnd/#", "tele/+/absent/+"])
def test_other_topics_cost_a_search_nothing(text):
    costs = []
    for count in (10, 10_000):
        tree = RetainedTree()
        for number in range(count):
            tree.put(f"tele/pump-{number}/state" if "absent" not in text else f"{number}/pump/state", number)
        costs.append(min(seconds(tree, text) for _ in range(7)))
    assert costs[1] < 4 * costs[0]


def seconds(tree, text):
    """The processor time of a thousand searches."""
    levels = parse_filter(text).levels
    started = time.process_time()
    for _ in range(1000):
        list(tree.find(levels))
    return time.process_time() - started

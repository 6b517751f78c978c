"""What nodes ask each other, and when one of them is taken for dead."""

import pytest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from dhtwisted.core.nodes import BEAT, PATIENCE, SETTLING, SILENCE, Nodes
from dhtwisted.errors import NodesUnavailable
from dhtwisted.testing.bus.shared import Hub
from dhtwisted.testing.server import at_once

DEATH = (SILENCE + 2) * BEAT


class Cluster:
    """Nodes on a bus that a test can cut."""

    def __init__(self):
        self.clock = Clock()
        self.hub = Hub(self.clock)
        self.buses, self.dead = {}, []

    def start(self):
        bus = self.hub.bus()
        at_once(bus.start(lambda events: None, lambda keys: None))
        nodes = Nodes(self.clock, bus)
        nodes.on_death = self.dead.append
        nodes.start()
        self.buses[nodes] = bus
        self.wait(SETTLING + 0.1)
        return nodes

    def wait(self, seconds):
        for _ in range(int(seconds * 10)):
            self.clock.advance(0.1)

    def kill(self, nodes):
        """End a node as kill -9 does."""
        nodes._beating.stop()
        at_once(self.buses[nodes].stop())

    def ask(self, nodes, question="who"):
        """Ask, and give the outcome as a list that fills later."""
        outcome = []
        Deferred.fromCoroutine(nodes.ask("subject", question)).addBoth(outcome.append)
        self.wait(0.1)
        return outcome


@pytest.fixture
def cluster():
    return Cluster()


def answering(nodes, answer):
    async def reply(sender, question):
        return [answer, question]

    nodes.answering["subject"] = reply


def test_a_lonely_node_waits_for_nobody(cluster):
    node = cluster.start()
    assert cluster.ask(node) == [[]]
    assert node.is_first


def test_all_others_answer(cluster):
    nodes = [cluster.start() for _ in range(3)]
    for number, node in enumerate(nodes):
        answering(node, number)
    (answers,) = cluster.ask(nodes[1])
    assert sorted(answers) == [[0, "who"], [2, "who"]]
    assert [node.is_first for node in nodes].count(True) == 1


def test_a_question_that_comes_before_the_others_are_known_waits(cluster):
    answering(cluster.start(), "here")
    bus = cluster.hub.bus()
    at_once(bus.start(lambda events: None, lambda keys: None))
    node = Nodes(cluster.clock, bus)
    node.start()
    outcome = cluster.ask(node)
    assert outcome == []
    cluster.wait(SETTLING)
    assert outcome == [[["here", "who"]]]


def test_a_node_that_dies_is_missed_and_nobody_waits_for_it_any_longer(cluster):
    one, two = cluster.start(), cluster.start()
    answering(two, "two")
    cluster.kill(two)
    outcome = cluster.ask(one)
    assert (outcome, cluster.dead) == ([], [])
    cluster.wait(DEATH)
    assert (outcome, cluster.dead) == ([[]], [two.id])
    assert (one.others, one.is_first) == (set(), True)


def test_a_node_that_stops_is_gone_at_once(cluster):
    one, two = cluster.start(), cluster.start()
    stopped = []
    Deferred.fromCoroutine(two.stop()).addBoth(stopped.append)
    cluster.wait(0.1)
    assert (cluster.dead, one.others, stopped) == ([two.id], set(), [None])


def test_a_node_that_lives_and_does_not_answer_is_not_passed_over(cluster):
    one, two = cluster.start(), cluster.start()

    async def never(sender, question):
        await Deferred()

    two.answering["subject"] = never
    outcome = cluster.ask(one)
    cluster.wait(PATIENCE + 1)
    assert outcome[0].check(NodesUnavailable)
    assert cluster.dead == []


def test_a_node_that_fails_to_answer_says_so(cluster):
    from twisted.logger import globalLogPublisher

    one, two = cluster.start(), cluster.start()

    async def fail(sender, question):
        raise RuntimeError("the test says so")

    two.answering["subject"] = fail
    logged = []
    globalLogPublisher.addObserver(logged.append)
    try:
        outcome = cluster.ask(one)
    finally:
        globalLogPublisher.removeObserver(logged.append)
    assert outcome[0].check(NodesUnavailable)
    assert any("could not be answered" in event["log_format"] for event in logged)


def test_a_node_that_is_cut_off_takes_nobody_for_dead_and_is_told_when_it_hears_again(cluster):
    one, two = cluster.start(), cluster.start()
    returned = []
    one.on_return = lambda: returned.append(cluster.clock.seconds())
    started, bus = cluster.hub._started, cluster.buses[one]
    started.remove(bus)
    cluster.wait(DEATH)
    assert cluster.dead == [one.id], "the other misses it, but it misses nobody"
    outcome = cluster.ask(one)
    cluster.wait(PATIENCE + 1)
    assert outcome[0].check(NodesUnavailable)
    started.append(bus)
    cluster.wait(BEAT + SETTLING + 1)
    assert len(returned) == 1
    assert (one.others, two.others) == ({two.id}, {one.id})
    answering(two, "two")
    assert cluster.ask(one) == [[["two", "who"]]]

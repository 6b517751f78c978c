"""All filters of all subscribers, so that the cost of a message follows the filters that match it, not all of them.

The tree has a node for each level of a filter; filters with the same beginning share nodes. A cache has the answers for recent topics.
Nothing here is recursive: a topic may have any number of levels.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

from dhtwisted.fronts.mqtt.small_maps import FewItems
from dhtwisted.wire.mqtt.topics import ONE, REST, TopicFilter

S = TypeVar("S")
V = TypeVar("V")
R = TypeVar("R")
M = TypeVar("M")

CACHED_TOPICS = 8192
"""How many topics the cache has at most."""

CACHED_BYTES = 8 * 1024**2
"""How many bytes it has at most, roughly. An answer that is larger is searched for each time, which costs less than its messages."""

ENTRY_BYTES = 64
"""What a level of a topic and a receiver in an answer cost in the cache, roughly."""


class SharedGroup(Generic[S, V]):
    """The subscribers that share the messages of one filter.

    :ivar name: of the group.
    :ivar members: subscriber -> subscription; who gets the next message is first.
    """

    __slots__ = ("members", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.members: OrderedDict[S, V] = OrderedDict()

    def choose(self, is_present: Callable[[S], bool]) -> tuple[S, V] | None:
        """Choose who gets a message: the one who got none for longest.

        :param is_present: whether a subscriber can take it.
        :returns: the subscriber and the subscription; ``None`` if nobody can take it.
        """
        for subscriber in self.members:
            if is_present(subscriber):
                self.members.move_to_end(subscriber)
                return subscriber, self.members[subscriber]
        return None


class Matches(NamedTuple, Generic[R, S, V]):
    """Who gets a message.

    :ivar receivers: one for each subscriber of whom a filter matches, as ``merge`` made it; shared subscriptions are not among them.
    :ivar groups: groups whose filter matches; one member of each gets the message.
    """

    receivers: tuple[R, ...]
    groups: tuple[SharedGroup[S, V], ...]


class TopicTree(Generic[S, V, R]):
    """The filters of all subscribers.

    :param merge: called as ``merge(subscriber, subscriptions)`` with all subscriptions of a subscriber that match a topic. What it returns
        is kept for further messages, until one of the subscriptions is replaced or ends.
    """

    def __init__(self, merge: Callable[[S, Sequence[V]], R]) -> None:
        self._merge = merge
        self._root: _Node = _Node()
        self._shared: _Node = _Node()
        self._recent: _RecentTopics[Matches[R, S, V]] = _RecentTopics()

    @property
    def is_empty(self) -> bool:
        """Whether nobody has subscribed."""
        return self._root.is_empty and self._shared.is_empty

    def has(self, level: str) -> bool:
        """Whether somebody has subscribed to something whose first level is this one; wildcards do not count."""
        return self._root.child(level) is not None or self._shared.child(level) is not None

    def match(self, topic: str) -> Matches[R, S, V]:
        """Find who gets a message.

        :param topic: a valid topic name.
        """
        found = self._recent.get(topic)
        return self._search(topic) if found is None else found

    def put(self, topic_filter: TopicFilter, subscriber: S, subscription: V) -> V | None:
        """Begin or replace a subscription.

        :param subscriber: compared by identity or ``==``, and hashable.
        :returns: the subscription of this subscriber that had the same filter until now.
        """
        if topic_filter.group:
            return self._join(topic_filter, subscriber, subscription)
        subscribers = _place(self._root, topic_filter.levels)
        previous: V | None = subscribers.get(subscriber)
        subscribers[subscriber] = subscription
        self._recent.forget(topic_filter)
        return previous

    def discard(self, topic_filter: TopicFilter, subscriber: S) -> V | None:
        """End a subscription.

        :returns: the subscription; ``None`` if there was none.
        """
        if topic_filter.group:
            return self._leave(topic_filter, subscriber)
        previous: V | None = _remove(self._root, topic_filter.levels, subscriber)
        if previous is not None:
            self._recent.forget(topic_filter)
        return previous

    def group(self, topic_filter: TopicFilter) -> SharedGroup[S, V] | None:
        """The subscribers that share a filter; ``None`` if there are none."""
        groups = _entries(_path(self._shared, topic_filter.levels), topic_filter.levels)
        return groups.get(topic_filter.group) if groups else None

    def _join(self, topic_filter: TopicFilter, subscriber: S, subscription: V) -> V | None:
        groups = _place(self._shared, topic_filter.levels)
        if topic_filter.group not in groups:
            groups[topic_filter.group] = SharedGroup(topic_filter.group)
            self._recent.forget(topic_filter)
        members = groups[topic_filter.group].members
        previous: V | None = members.get(subscriber)
        members[subscriber] = subscription
        return previous

    def _leave(self, topic_filter: TopicFilter, subscriber: S) -> V | None:
        group = self.group(topic_filter)
        if group is None or subscriber not in group.members:
            return None
        previous = group.members.pop(subscriber)
        if not group.members:
            _remove(self._shared, topic_filter.levels, topic_filter.group)
            self._recent.forget(topic_filter)
        return previous

    def _search(self, topic: str) -> Matches[R, S, V]:
        merge = self._merge
        names = topic.split("/")
        gathered: dict[S, list[V]] = {}
        for subscribers in _matching(self._root, names):
            for subscriber, subscription in subscribers.items():
                gathered.setdefault(subscriber, []).append(subscription)
        receivers = tuple([merge(subscriber, subscriptions) for subscriber, subscriptions in gathered.items()])
        groups = tuple([group for groups in _matching(self._shared, names) for group in groups.values()])
        found = Matches(receivers, groups)
        self._recent.put(topic, names, found, len(receivers) + len(groups))
        return found


class _RecentTopics(dict[str, M]):
    """The answers for recent topics. All are dropped when they are too many, or when a filter changes that could match one of them."""

    def __init__(self) -> None:
        super().__init__()
        self._names: list[set[str]] = []
        self._size = 0

    def put(self, topic: str, names: list[str], answer: M, receivers: int) -> None:
        """Add an answer.

        :param names: the levels of the topic.
        :param receivers: how many the answer has.
        """
        size = len(topic) + ENTRY_BYTES * (len(names) + receivers)
        if size > CACHED_BYTES:
            return
        if len(self) >= CACHED_TOPICS or self._size + size > CACHED_BYTES:
            self.clear()
        self[topic] = answer
        self._size += size
        known = self._names
        for depth, name in enumerate(names):
            if depth == len(known):
                known.append(set())
            known[depth].add(name)

    def forget(self, topic_filter: TopicFilter) -> None:
        """Drop the answers that a change of a filter may have made wrong."""
        if topic_filter.is_exact:
            # Its size still counts until the next clear: to know it would cost memory for each answer.
            self.pop(topic_filter.pattern, None)
        elif self and self._may_match(topic_filter.levels):
            self.clear()

    def clear(self) -> None:
        """Drop all."""
        super().clear()
        self._names.clear()
        self._size = 0

    def _may_match(self, levels: Sequence[str]) -> bool:
        """Whether a topic may be here that a filter matches: one or several that have its names, each at its level."""
        known = self._names
        for depth, level in enumerate(levels):
            if level in (ONE, REST):
                continue
            if depth >= len(known) or level not in known[depth]:
                return False
        return True


class _Node:
    """One level of filters.

    :ivar children: the next level by its text; ``None`` for none, as each of the following.
    :ivar one: the next level if it is ``+``.
    :ivar here: what the filter that ends here has, by subscriber or name of the group.
    :ivar rest: the same for the filter that ends with ``#`` below.
    """

    __slots__ = ("children", "here", "one", "rest")

    def __init__(self) -> None:
        self.children: dict[str, _Node] | None = None
        self.one: _Node | None = None
        self.here: FewItems[Any, Any] | None = None
        self.rest: FewItems[Any, Any] | None = None

    def child(self, level: str) -> _Node | None:
        if level == ONE:
            return self.one
        return self.children.get(level) if self.children else None

    def make_child(self, level: str) -> _Node:
        node = _Node()
        if level == ONE:
            self.one = node
        elif self.children is None:
            self.children = {level: node}
        else:
            self.children[level] = node
        return node

    def drop_child(self, level: str) -> None:
        if level == ONE:
            self.one = None
        elif self.children:
            del self.children[level]
            self.children = self.children or None

    @property
    def is_empty(self) -> bool:
        return self.children is None and self.one is None and self.here is None and self.rest is None


def _path(root: _Node, levels: Sequence[str]) -> list[_Node]:
    """The nodes of a filter from the root on, as far as they are there; ``#`` has no node."""
    path = [root]
    for level in levels:
        node = path[-1].child(level)
        if node is None:
            break
        path.append(node)
    return path


def _place(root: _Node, levels: Sequence[str]) -> FewItems[Any, Any]:
    """What subscribers have at a filter; made if it is not there."""
    node = root
    for level in levels:
        if level == REST:
            if node.rest is None:
                node.rest = FewItems()
            return node.rest
        node = node.child(level) or node.make_child(level)
    if node.here is None:
        node.here = FewItems()
    return node.here


def _entries(path: Sequence[_Node], levels: Sequence[str]) -> FewItems[Any, Any] | None:
    """What subscribers have at a filter.

    :param path: its nodes, as far as they are there.
    :returns: ``None`` if there is none.
    """
    if levels[-1] == REST:
        return path[-1].rest if len(path) == len(levels) else None
    return path[-1].here if len(path) == len(levels) + 1 else None


def _remove(root: _Node, levels: Sequence[str], key: Any) -> Any:
    """Remove what a filter has under this key, and the nodes that are of no use then.

    :returns: what was there; ``None`` if there was nothing.
    """
    path = _path(root, levels)
    entries = _entries(path, levels)
    if not entries or key not in entries:
        return None
    value = entries.pop(key)
    if not entries:
        if levels[-1] == REST:
            path[-1].rest = None
        else:
            path[-1].here = None
    for depth in range(len(path) - 1, 0, -1):
        if not path[depth].is_empty:
            break
        path[depth - 1].drop_child(levels[depth - 1])
    return value


def _matching(root: _Node, names: Sequence[str]) -> list[FewItems[Any, Any]]:
    """What subscribers have at all filters that match a topic, which is given by its levels."""
    found: list[FewItems[Any, Any]] = []
    nodes = [root]
    for depth, name in enumerate(names):
        # A wildcard at the begin does not match $ ([MQTT-4.7.2-1]).
        wild = depth > 0 or not name.startswith("$")
        following = []
        for node in nodes:
            if wild and node.rest is not None:
                found.append(node.rest)
            if node.children is not None and name in node.children:
                following.append(node.children[name])
            if wild and node.one is not None:
                following.append(node.one)
        nodes = following
        if not nodes:
            break
    for node in nodes:
        # a/# matches a, too.
        if node.rest is not None:
            found.append(node.rest)
        if node.here is not None:
            found.append(node.here)
    return found

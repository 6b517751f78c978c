"""Names of topics with something for each, found by filters: the reverse of :mod:`dhtwisted.fronts.mqtt.topic_tree`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Generic, TypeVar

from dhtwisted.wire.mqtt.topics import ONE, REST

T = TypeVar("T")


class RetainedTree(Generic[T]):
    """The newest retained message of each topic.

    A search looks only at topics that begin as the filter does. It costs what it finds, except for ``+`` before a level that few of many
    topics have.
    """

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()
        self._nodes: dict[str, _Node[T]] = {}

    def __len__(self) -> int:
        return len(self._nodes)

    def get(self, topic: str) -> T | None:
        """What a topic has; ``None`` for nothing."""
        node = self._nodes.get(topic)
        return None if node is None else node.value

    def put(self, topic: str, value: T) -> T | None:
        """Set what a topic has.

        :returns: what it had.
        """
        node = self._nodes.get(topic)
        if node is None:
            node = self._nodes[topic] = self._make(topic)
        previous, node.value = node.value, value
        return previous

    def discard(self, topic: str) -> T | None:
        """Remove a topic.

        :returns: what it had; ``None`` for nothing.
        """
        node = self._nodes.pop(topic, None)
        if node is None:
            return None
        previous, node.value = node.value, None
        while node.parent is not None and node.value is None and not node.children:
            node.parent.drop(node.level)
            node = node.parent
        return previous

    def find(self, levels: Sequence[str]) -> Iterator[T]:
        """What all topics have that a filter matches.

        The tree may change before the iterator is at its end: what is put then may be missing, what is discarded is not there.

        :param levels: of a valid filter.
        """
        if ONE not in levels and REST not in levels:
            exact = self.get("/".join(levels))
            return iter(() if exact is None else (exact,))
        return self._search(levels)

    def _make(self, topic: str) -> _Node[T]:
        node = self._root
        for level in topic.split("/"):
            node = node.make(level)
        return node

    def _search(self, levels: Sequence[str]) -> Iterator[T]:
        pending = [(self._root, 0)]
        while pending:
            node, depth = pending.pop()
            if depth == len(levels):
                if node.value is not None:
                    yield node.value
            elif levels[depth] == REST:
                yield from self._below(node)
            elif levels[depth] == ONE:
                pending += [(child, depth + 1) for child in self._wild(node)]
            elif node.children is not None and levels[depth] in node.children:
                pending.append((node.children[levels[depth]], depth + 1))

    def _below(self, top: _Node[T]) -> Iterator[T]:
        """What a node and all below it have."""
        pending = [top]
        while pending:
            node = pending.pop()
            if node.value is not None:
                yield node.value
            pending += self._wild(node)

    def _wild(self, node: _Node[T]) -> list[_Node[T]]:
        """The children that a wildcard means: at the begin, not those with ``$`` ([MQTT-4.7.2-1])."""
        if node.children is None:
            return []
        if node is self._root:
            return [child for child in node.children.values() if not child.level.startswith("$")]
        return list(node.children.values())


class _Node(Generic[T]):
    """One level of topics.

    :ivar value: what the topic that ends here has; ``None`` if there is none.
    """

    __slots__ = ("children", "level", "parent", "value")

    def __init__(self, parent: _Node[T] | None = None, level: str = "") -> None:
        self.parent = parent
        self.level = level
        self.children: dict[str, _Node[T]] | None = None
        self.value: T | None = None

    def make(self, level: str) -> _Node[T]:
        """The child of this name; it is made if it is not there."""
        if self.children is None:
            self.children = {}
        child = self.children.get(level)
        if child is None:
            child = self.children[level] = _Node(self, level)
        return child

    def drop(self, level: str) -> None:
        """Remove a child."""
        if self.children is not None:
            del self.children[level]
            self.children = self.children or None

"""Finds what is at a path: a tree of the routes of all actions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from dhtwisted.actions import ACTIONS, REST_ONLY
from dhtwisted.fronts.rest.endpoint import Endpoint


class Found(NamedTuple):
    """What is at a path.

    :ivar endpoints: method -> endpoint.
    :ivar values: the texts in the places of the path, in order.
    """

    endpoints: dict[str, Endpoint]
    values: tuple[str, ...]


class _Node:
    """A place in the tree. Literal parts come before parts that are values."""

    __slots__ = ("endpoints", "literals", "value")

    def __init__(self) -> None:
        self.literals: dict[str, _Node] = {}
        self.value: _Node | None = None
        self.endpoints: dict[str, Endpoint] = {}

    def below(self, part: str) -> _Node:
        """The node for one part of a route's path, made if it is new."""
        if part.startswith("{"):
            self.value = self.value or _Node()
            return self.value
        return self.literals.setdefault(part, _Node())

    def find(self, segments: Sequence[str], values: tuple[str, ...] = ()) -> Found | None:
        """What is at a path below this node; ``None`` for nothing."""
        if not segments:
            return Found(self.endpoints, values) if self.endpoints else None
        found = None
        literal = self.literals.get(segments[0])
        if literal is not None:
            found = literal.find(segments[1:], values)
        if found is None and self.value is not None:
            found = self.value.find(segments[1:], (*values, segments[0]))
        return found


class Paths:
    """The routes of all actions."""

    def __init__(self) -> None:
        self._root = _Node()
        for action in (*ACTIONS.values(), *REST_ONLY.values()):
            for route in action.routes:
                node = self._root
                for part in route.path.strip("/").split("/"):
                    node = node.below(part)
                node.endpoints[route.method] = Endpoint(action, route)

    def find(self, segments: Sequence[str]) -> Found | None:
        """What is at a path; ``None`` for nothing."""
        return self._root.find(segments)

    def methods(self, segments: Sequence[str]) -> list[str] | None:
        """The methods of a path.

        :returns: a sorted list such as ``["GET", "HEAD", "OPTIONS"]``; ``None`` if there is nothing at the path.
        """
        found = self._root.find(segments)
        if found is None:
            return None
        methods = set(found.endpoints) | {"OPTIONS"}
        return sorted(methods | {"HEAD"} if "GET" in methods else methods)

"""Queues that take no memory while they are empty: an empty deque takes 0.6 KB, and most of ten thousand connections are idle."""

from __future__ import annotations

from collections import deque
from typing import Any

EMPTY: Any = ()
"""Stands for an empty queue."""


def append(queue: deque[Any], item: object) -> deque[Any]:
    """Append an item.

    :param queue: a deque, or :data:`EMPTY`.
    :returns: the queue to keep instead.
    """
    if queue is EMPTY:
        return deque((item,))
    queue.append(item)
    return queue

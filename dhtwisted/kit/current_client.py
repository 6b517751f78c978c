"""The client for which the server works at this moment.

The server sets it, and a :class:`~dhtwisted.kit.fair_queue.FairQueue` reads it. The code between them need not pass it on.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")

Client = int | str | None
"""The id of a user, the network address of a client that has not logged in, or ``None`` for the server itself."""


class _Current:
    """Holds the current client. Use it in the reactor thread only.

    :ivar client: a :data:`Client`.
    """

    __slots__ = ("client",)

    client: Client

    def __init__(self) -> None:
        self.client = None


CURRENT = _Current()


def run_for_client(client: Client, function: Callable[..., T], *arguments: Any) -> T:
    """Call a function for a client. Coroutines that it starts with :func:`dhtwisted.core.coroutines.run` also work for this client."""
    before, CURRENT.client = CURRENT.client, client
    try:
        return function(*arguments)
    finally:
        CURRENT.client = before


def is_stranger(client: Client) -> bool:
    """Whether a client has not logged in."""
    return isinstance(client, str)

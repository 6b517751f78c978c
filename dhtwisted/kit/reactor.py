"""The type of the reactor that providers get in their context, and what the server asks of a reactor besides."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.internet.interfaces import IReactorCore, IReactorFDSet, IReactorSocket, IReactorThreads, IReactorTime
from twisted.internet.main import installReactor


class IReactor(IReactorCore, IReactorFDSet, IReactorSocket, IReactorThreads, IReactorTime):
    """What Twisted's reactors on Linux provide together. It is for annotations; no reactor declares it."""


def install_reactor() -> None:
    """Install the reactor of a process that only runs a server, unless one was chosen. Without epoll, Twisted takes its default."""
    if "twisted.internet.reactor" in sys.modules:
        return
    try:
        from dhtwisted.kit.lean_reactor import LeanReactor
    except ImportError:
        # The system has no epoll.
        return
    installReactor(LeanReactor())


def end_of_turn(reactor: Any) -> Callable[[Callable[[], object]], object]:
    """A function that has its argument called once, before the reactor waits for events again.

    :param reactor: any; the :class:`~dhtwisted.kit.lean_reactor.LeanReactor` does it with the least work.
    """
    return getattr(reactor, "call_at_end_of_turn", None) or partial(reactor.callLater, 0)

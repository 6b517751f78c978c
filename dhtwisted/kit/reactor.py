"""The type of the reactor that providers get in their context."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorCore, IReactorFDSet, IReactorSocket, IReactorThreads, IReactorTime


class IReactor(IReactorCore, IReactorFDSet, IReactorSocket, IReactorThreads, IReactorTime):
    """What Twisted's reactors on Linux provide together. It is for annotations; no reactor declares it."""

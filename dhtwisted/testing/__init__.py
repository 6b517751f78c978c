"""For tests, ours and strangers': contract suites for providers, a server in memory, a client of it, and a WebSocket echo."""

from __future__ import annotations

from typing import Any

__all__ = ["echo_factory"]


def __getattr__(name: str) -> Any:
    # Found when it is asked for: the suites for providers need no Autobahn, which takes a third of a second to import.
    if name != "echo_factory":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from dhtwisted.testing.echo import echo_factory

    return echo_factory

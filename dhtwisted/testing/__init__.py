"""For tests: contract suites for all providers, a server in memory, a client of it, and a WebSocket echo."""

from __future__ import annotations

from typing import Any

__all__ = ["echo_factory"]


def __getattr__(name: str) -> Any:
    # Imported on first use: the suites do not need Autobahn, whose import takes a third of a second.
    if name != "echo_factory":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from dhtwisted.testing.echo import echo_factory

    return echo_factory

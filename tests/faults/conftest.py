"""Servers as processes."""

from tests.support.servers.fixtures import start

__all__ = ["start"]

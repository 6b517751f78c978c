"""Servers as processes."""

from tests.support.servers.fixtures import journal_site, shell, start

__all__ = ["journal_site", "shell", "start"]

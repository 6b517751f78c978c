"""Servers as processes."""

from tests.support.servers.fixtures import journal_site, shell, start
from tests.support.servers.node import javascript

__all__ = ["javascript", "journal_site", "shell", "start"]

"""Where WebSocket and REST differ on purpose (REST reference, sections 6 and 13a). What else differs is said by the errors themselves."""

from __future__ import annotations

from msgspec import Struct


class Conventions(Struct, frozen=True, kw_only=True):
    """How lists are read by one transport.

    :ivar entities_taken: how many entities a list has when ``take`` is absent; ``None`` for all.
    :ivar newest_first: messages come in descending order when neither ``sortField`` nor ``sortOrder`` is given.
    :ivar refuses_pages: a negative ``take`` or ``skip``, or an unknown ``sortOrder``, of a list of messages is an error; else the list is
        empty, or in ascending order.
    """

    entities_taken: int | None
    newest_first: bool
    refuses_pages: bool


WEBSOCKET = Conventions(entities_taken=100, newest_first=False, refuses_pages=True)
REST = Conventions(entities_taken=None, newest_first=True, refuses_pages=False)

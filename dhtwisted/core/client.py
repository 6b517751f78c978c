"""Where WebSocket and REST differ on purpose (REST reference, sections 6 and 13a). What else differs is said by the errors themselves."""

from __future__ import annotations

from msgspec import Struct


class Conventions(Struct, frozen=True, kw_only=True):
    """How lists and updates are read by one transport.

    :ivar entities_taken: how many entities a list has when ``take`` is absent; ``None`` for all.
    :ivar object_first: who updates a command that is not there, and says nothing to be changed, is told the former.
    :ivar newest_first: messages come in descending order when neither ``sortField`` nor ``sortOrder`` is given.
    :ivar refuses_pages: a negative ``take`` or ``skip``, or an unknown ``sortOrder``, of a list of messages is an error; else the list is
        empty, or in ascending order.
    :ivar sends_portions: a list is whole however long it is, and sent as the client takes it; else it is cut, and says so.
    """

    entities_taken: int | None
    object_first: bool
    newest_first: bool
    refuses_pages: bool
    sends_portions: bool


WEBSOCKET = Conventions(entities_taken=100, object_first=False, newest_first=False, refuses_pages=True, sends_portions=False)
REST = Conventions(entities_taken=None, object_first=True, newest_first=True, refuses_pages=False, sends_portions=True)

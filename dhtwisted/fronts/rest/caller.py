"""One REST request, and the client that sent it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from zope.interface import implementer

from dhtwisted.core.client import REST, IPollingClient
from dhtwisted.interfaces import IConnection

if TYPE_CHECKING:
    from dhtwisted.core.access import Principal


@implementer(IPollingClient, IConnection)
class Caller:
    """The client of one request, and its own connection: there is none that outlives the answer."""

    __slots__ = ("_end", "address", "number", "principal", "websocket_url")
    conventions = REST

    def __init__(self, address: str, websocket_url: str, number: int = 0) -> None:
        self.address = address
        self.number = number
        self.principal: Principal | None = None
        self.websocket_url = websocket_url
        self._end: Callable[[], None] | None = None

    @property
    def output(self) -> Caller:
        """The caller itself."""
        return self

    def remember_command(self, command_id: int) -> None:
        """Do nothing: there is no way back to this client."""

    def end_when_gone(self, end: Callable[[], None] | None) -> None:
        """Call a function when the client goes away or closes its side; see :class:`~dhtwisted.core.client.IPollingClient`."""
        self._end = end

    def close(self) -> None:
        """The client is gone, or has closed its side."""
        if self._end is not None:
            self._end()


class Call(NamedTuple):
    """One request.

    :ivar method: one of a :class:`~dhtwisted.actions.table.Route`.
    :ivar segments: the parts of the path below its base, percent-decoded.
    :ivar query: name -> texts.
    :ivar body: as it came.
    :ivar content_type: this header; ``None`` if it is absent.
    :ivar authorization: likewise.
    :ivar caller: the client.
    :ivar header: gives the text of any other header by its name, or ``None``.
    """

    method: str
    segments: list[str]
    query: dict[str, list[str]]
    body: bytes
    content_type: str | None
    authorization: str | None
    caller: Caller
    header: Callable[[str], str | None] = lambda name: None

"""The REST API, from the same table of actions as the WebSocket.

No endpoint is written here. The routes of the table say where an action is found, which member of the request the body is, and what a
success looks like (REST reference, section 8). :mod:`dhtwisted.transports.http.site` does what HTTP itself requires.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dhtwisted.fronts.rest.paths import Paths
from dhtwisted.fronts.rest.pending import Done, PendingCall

if TYPE_CHECKING:
    from dhtwisted.core.server import Server
    from dhtwisted.fronts.rest.caller import Call


class RestApi:
    """Answers the REST requests of one server.

    :param server: a started server.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._depth = server.settings.limits.json_depth
        self._paths = Paths()

    def methods(self, segments: Sequence[str]) -> list[str] | None:
        """The methods of a path.

        :returns: a sorted list such as ``["GET", "HEAD", "OPTIONS"]``; ``None`` if there is nothing at the path.
        """
        return self._paths.methods(segments)

    def handle(self, call: Call, done: Done) -> None:
        """Answer a request.

        :param done: called once, with the status, the body (``None`` for none) and lines of headers, each with its end. The body of a long
            list is an asynchronous iterator of bytes. Its first portion is ready; each further one is read when it is asked for. What it
            raises is in the log; the client must not take what it has for the whole.
        """
        PendingCall(self._server, call, self._paths.find(call.segments), done).start(self._depth)

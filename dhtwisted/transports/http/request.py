"""One HTTP request, and how it is answered: in one go, or in portions as the client takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.web.http import Request, _MalformedChunkedDataError

from dhtwisted.core.addresses import peer_address
from dhtwisted.errors import ApiError, BodyTooLarge, InternalError, RequestTimeout, ServiceOverloaded
from dhtwisted.fronts.rest.answers import error_answer, retry_line
from dhtwisted.fronts.rest.caller import Caller
from dhtwisted.transports.http.answers import JSON, answer_head
from dhtwisted.transports.http.headers import single

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from dhtwisted.fronts.rest.answers import Body
    from dhtwisted.transports.admission import Admission
    from dhtwisted.transports.locator import Locator

ONE_GO = 65536
"""Bytes of a body up to which it is joined with its head; copying a larger one would cost more than the second write."""


SMALL_CHUNK = 128
MOST_SMALL_CHUNKS = 1000
"""Of one body; a piece of a packet counts too. Each costs 10 us, and one read may bring ten thousand."""


class HttpRequest(Request):
    """One request. Its body is gathered in memory, within the limit and in time."""

    events = Logger()
    _refused = False
    _received = _small_chunks = _left_behind = 0
    _caller: Caller | None = None
    _held: str | None = None
    address = ""
    channel: Any

    # What the channel calls; Twisted's own methods would spool bodies to disk, read forms, and look for a resource.

    def gotLength(self, length: int | None) -> None:
        self._body = bytearray()
        if self._exceeds(length or 0):
            self._refuse(BodyTooLarge(self.channel.factory.message_size))

    def handleContentChunk(self, data: bytes) -> None:
        self._received += len(data)
        if self._refused:
            return
        if self._exceeds(self._received):
            self._refuse(BodyTooLarge(self.channel.factory.message_size))
            return
        if len(data) < SMALL_CHUNK:
            self._small_chunks += 1
            if self._small_chunks > MOST_SMALL_CHUNKS:
                # The one error that has the parser leave what came with it, which may be ten thousand more.
                raise _MalformedChunkedDataError("too many small chunks")
        # Joined at once: a list of small pieces would be many times as large.
        self._body += data
        account, is_used_up = self.channel.account, self.channel.factory.budget.is_used_up
        account.add(len(data))
        # When it is used up, it is we who do not read.
        account.expect_more(not is_used_up)
        if is_used_up:
            self.channel.wait_for_budget()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        self.channel.account.expect_more(False)
        if self._refused:
            return
        self.method, self.uri, self.clientproto = command, path, version
        self.channel.factory.process(self)

    def connectionLost(self, reason: Any) -> None:
        super().connectionLost(reason)
        self._release()
        # The parser and this hold each other until the garbage collector comes, which is seldom.
        self._body = bytearray()
        if self._caller is not None:
            # Its account is closed, and what was begun goes on.
            self._left_behind = self._received
            self._budget.count(self._left_behind)
        self.end_waiting()

    def end_waiting(self) -> None:
        """Answer a poll now, with what it has."""
        if self._caller is not None:
            self._caller.close()

    def _exceeds(self, length: int) -> bool:
        limit = self.channel.factory.message_size
        return bool(limit) and length > limit

    def body_late(self) -> None:
        """The body has not come in time."""
        self._refuse(RequestTimeout())

    def _refuse(self, error: ApiError) -> None:
        """Answer without having read it all, and close: what is left cannot be told from a next request."""
        self._refused = True
        self.channel.factory.metrics.refused("body_timeout" if isinstance(error, RequestTimeout) else "message_size")
        self.channel.refuse(error)

    # What the factory calls

    def header(self, name: str) -> str | None:
        """A header as text, which may hold any bytes; ``None`` when it is absent.

        :raises BadRequest: it is repeated, so that it cannot be said what was meant.
        """
        encoded = name.encode()
        return single(self._values(encoded), encoded)

    @property
    def body(self) -> bytes:
        """All of the body."""
        return bytes(self._body)

    def admit(self, admission: Admission) -> None:
        """Find out whose request it is. One that comes from a trusted proxy counts as a connection of its client's.

        :param admission: an :class:`~dhtwisted.transports.admission.Admission`.
        :raises UnclearForwarding: a trusted proxy leaves open whose it is.
        :raises ServiceUnavailable: the client has as much under way as it may have.
        """
        peer = self.address = peer_address(self.client)
        self._sender = admission.client_of(self._values, peer)
        self.address = self._sender.address
        if admission.proxies.trusts(peer):
            self._held = admission.hold(self.address)
            self._admission = admission

    @property
    def is_open(self) -> bool:
        """Whether it is still to be answered."""
        return not (self._disconnected or self.finished)

    @property
    def is_held(self) -> bool:
        """Whether it comes from a trusted proxy, and has not been answered yet."""
        return self._held is not None

    def _release(self) -> None:
        if self._held is not None:
            self._admission.release(self._held)
            self._held = None

    def _values(self, name: bytes) -> Sequence[bytes]:
        return self.requestHeaders.getRawHeaders(name, ())

    def caller(self, locator: Locator, prefix: str) -> Caller:
        """Who asks, for the handlers; told when the connection is lost."""
        websocket_url = locator.websocket_url(prefix, self._sender, self.header("host"), self.isSecure())
        self._caller = Caller(self.address, websocket_url, self.channel.number)
        self._budget = self.channel.factory.budget
        return self._caller

    def answer_error(self, error: ApiError, headers: bytes = b"") -> None:
        """Answer with an error.

        :param error: an :class:`~dhtwisted.errors.ApiError`.
        :param headers: as of :meth:`answer`.
        """
        self.answer(*error_answer(error), retry_line(error) + headers)

    def answer(self, status: int, body: Body, headers: bytes = b"", content_type: bytes = JSON) -> None:
        """Send the answer. One of bytes leaves in one go: the firmware reads no further than one segment.

        The head is written here, since Twisted's way through a table of headers takes as long as all else that an answer needs.

        :param body: bytes; ``None`` for none at all; or an async iterator of bytes, which is asked for each portion when the client has
            taken the last, and closed (``aclose``) in any case. What it raises before its first portion is answered, what it raises later
            breaks the connection off.
        :param headers: further lines, each with its end.
        """
        if self._left_behind:
            self._budget.count(-self._left_behind)
            self._left_behind = 0
        if body is not None and not isinstance(body, bytes):
            Deferred.fromCoroutine(self._answer_in_portions(status, body, headers, content_type))
            return
        if not self.is_open:
            return
        if body is not None and len(body) > ONE_GO and self.channel.lacks_memory(len(body)):
            # It has been made before it was known how large it is; the client is to come again.
            self.channel.factory.metrics.refused("output_total")
            self.answer_error(ServiceOverloaded())
            return
        head = self._begin(status, answer_head(status, body, content_type), headers)
        if body is None or self.method == b"HEAD":
            self.channel.write(head)
        elif len(body) <= ONE_GO:
            self.channel.write(head + body)
        else:
            self.channel.writeSequence((head, body))
        self._end()

    def _begin(self, status: int, head: bytes, headers: bytes) -> bytes:
        self._caller = None
        self.code = status
        self.startedWriting = 1
        head += self.channel.factory.headers(self) + headers
        return head + (b"\r\n" if self.channel.persistent else b"Connection: close\r\n\r\n")

    def _end(self) -> None:
        self._release()
        self.channel.account.remove(self._received)
        self.finish()

    async def _answer_in_portions(self, status: int, portions: AsyncGenerator[bytes, None], headers: bytes, content_type: bytes) -> None:
        number = self.channel.number if self.is_open else 0
        try:
            await self._send_portions(status, portions, headers, content_type)
        except Exception as error:
            if not isinstance(error, ApiError):
                self.events.failure("an HTTP answer could not be made to its end", connection=number, address=self.address)
            if self._disconnected:
                return
            if self.startedWriting:
                # Only so the client notices that something is missing.
                self.channel.transport.abortConnection()
            else:
                self.answer_error(error if isinstance(error, ApiError) else InternalError())

    async def _send_portions(self, status: int, portions: AsyncGenerator[bytes, None], headers: bytes, content_type: bytes) -> None:
        is_chunked = self.clientproto != b"HTTP/1.0"
        try:
            portion = await anext(portions, None) if self._wants_body and self.is_open else None
            if not self.is_open:
                return
            head = answer_head(status, None) + b"Content-Type: %b\r\n" % content_type
            self.channel.write(self._begin(status, head + (b"Transfer-Encoding: chunked\r\n" if is_chunked else b""), headers))
            while portion is not None:
                if portion:
                    self.channel.writeSequence((b"%x\r\n" % len(portion), portion, b"\r\n") if is_chunked else (portion,))
                # Its memory is the transport's now.
                portion = None
                room = self.channel.room()
                if room is not None:
                    await room
                portion = await anext(portions, None) if self.is_open else None
                if not self.is_open:
                    return
        finally:
            await portions.aclose()
        if is_chunked and self._wants_body:
            self.channel.write(b"0\r\n\r\n")
        self._end()

    @property
    def _wants_body(self) -> bool:
        return self.method != b"HEAD"

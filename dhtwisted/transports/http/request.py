"""One HTTP request and its answer, which is sent at once, or in portions as the client reads them."""

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
"""A body up to this size (bytes) is joined with its head. For a larger one the copy costs more than a second write."""


SMALL_CHUNK = 128
MOST_SMALL_CHUNKS = 1000
"""Per body; a part of a chunk counts too. Each costs 10 us, and one read may contain ten thousand."""


class HttpRequest(Request):
    """One request. Its body is collected in memory, up to a limit of size and time."""

    events = Logger()
    _refused = False
    _received = _small_chunks = _left_behind = 0
    _caller: Caller | None = None
    _held: str | None = None
    address = ""
    channel: Any

    # Called by the channel. Twisted's own methods would spool bodies to disk, parse forms and look for a resource.

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
                # Only this error makes the parser drop the rest of the read, which may be ten thousand more chunks.
                raise _MalformedChunkedDataError("too many small chunks")
        # Joined at once: a list of small pieces would need many times the memory.
        self._body += data
        account, is_used_up = self.channel.account, self.channel.factory.budget.is_used_up
        account.add(len(data))
        # When the budget is used up, the server stops reading, so the client is not slow.
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
        # A reference cycle with the parser would keep the body until the garbage collector runs.
        self._body = bytearray()
        if self._caller is not None:
            # The account of the connection is closed, but the handler goes on.
            self._left_behind = self._received
            self._budget.count(self._left_behind)
        self.end_waiting()

    def end_waiting(self) -> None:
        """Make a waiting poll answer now, with what it has."""
        if self._caller is not None:
            self._caller.close()

    def _exceeds(self, length: int) -> bool:
        limit = self.channel.factory.message_size
        return bool(limit) and length > limit

    def body_late(self) -> None:
        """Refuse the request: its body did not arrive in time."""
        self._refuse(RequestTimeout())

    def _refuse(self, error: ApiError) -> None:
        """Answer before the body is complete, and close: the rest of the body could be read as the next request."""
        self._refused = True
        self.channel.factory.metrics.refused("body_timeout" if isinstance(error, RequestTimeout) else "message_size")
        self.channel.refuse(error)

    # Called by the factory

    def header(self, name: str) -> str | None:
        """A header as text, decoded as Latin-1; ``None`` if it is absent.

        :raises BadRequest: the header is repeated, so its value is ambiguous.
        """
        encoded = name.encode()
        return single(self._values(encoded), encoded)

    @property
    def body(self) -> bytes:
        """The whole body."""
        return bytes(self._body)

    def admit(self, admission: Admission) -> None:
        """Find the client of the request. A request through a trusted proxy counts as a connection of its client.

        :param admission: an :class:`~dhtwisted.transports.admission.Admission`.
        :raises UnclearForwarding: the headers of a trusted proxy do not identify one client.
        :raises ServiceUnavailable: the client has too many connections or requests open.
        """
        peer = self.address = peer_address(self.client)
        self._sender = admission.client_of(self._values, peer)
        self.address = self._sender.address
        if admission.proxies.trusts(peer):
            self._held = admission.hold(self.address)
            self._admission = admission

    @property
    def is_open(self) -> bool:
        """Whether the request still needs an answer."""
        return not (self._disconnected or self.finished)

    @property
    def is_held(self) -> bool:
        """Whether the request came through a trusted proxy and has no answer yet."""
        return self._held is not None

    def _release(self) -> None:
        if self._held is not None:
            self._admission.release(self._held)
            self._held = None

    def _values(self, name: bytes) -> Sequence[bytes]:
        return self.requestHeaders.getRawHeaders(name, ())

    def caller(self, locator: Locator, prefix: str) -> Caller:
        """The caller for the handlers. It is closed when the connection is lost."""
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
        """Send the answer. Bytes are sent with their head in one write: the firmware reads only one segment.

        The head is written here. Twisted's table of headers would take as long as the rest of the answer.

        :param body: bytes; ``None`` for no body; or an async iterator of bytes. The next portion is asked for when the client has read the
            last. The iterator is always closed (``aclose``). An error before the first portion is answered; a later one aborts the
            connection.
        :param headers: more lines, each with its line end.
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
            # The size is known only now. The client must try again later.
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
                # Only an abort shows the client that the answer is incomplete.
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
                # The transport has it now; a reference here would keep its memory.
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

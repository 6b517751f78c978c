"""A TCP proxy that breaks: it loses connections, refuses them, lets them hang, or is slow."""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress
from typing import Any, Self

from psycopg2.extensions import make_dsn

from tests.support.ports import free_port

PATIENCE = 30
_CHUNK = 2**16
_CHUNKS = 16
_AT_ONCE = struct.pack("ii", 1, 0)
"""For SO_LINGER: closing sends a reset, and drops what has not been sent."""

Chunks = asyncio.Queue[tuple[float, bytes]]
"""The times at which chunks are due, and the chunks; an empty one is the end."""


class FaultProxy:
    """A proxy in front of a server at 127.0.0.1. It runs in a thread, so it also works while the test waits for something.

    As a context manager it listens from the beginning to the end of the block. Its methods return when they have taken effect.

    :param target_port: the port of the server.
    :ivar port: the port of the proxy; it never changes.
    :ivar accepted: how many connections the proxy has accepted so far.
    """

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self.port = free_port()
        self.accepted = 0
        self._delay = 0.0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._flow = asyncio.Event()
        self._flow.set()
        self._connections: dict[asyncio.Task[Any], list[asyncio.StreamWriter]] = {}
        self._listener: asyncio.Server | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        self.accept()
        return self

    def __exit__(self, *_: object) -> None:
        self.refuse()
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()

    @property
    def open(self) -> int:
        """How many connections are open now."""
        return len(self._connections)

    def dsn(self, dsn: str) -> str:
        """Change the connection string of a database so that it uses this proxy."""
        return make_dsn(dsn, host="127.0.0.1", port=self.port)

    def aim(self, target_port: int) -> None:
        """Choose another server for the connections that come from now on."""
        self._target_port = target_port

    def refuse(self) -> None:
        """Stop listening: new connections are refused, open ones go on."""
        self._call(self._refuse())

    def accept(self) -> None:
        """Listen again."""
        self._call(self._accept())

    def cut(self) -> None:
        """Reset all connections, on both sides."""
        self._call(self._cut())

    def freeze(self) -> None:
        """Pass nothing on in either direction, not even the end of a connection. New connections are accepted."""
        self._call(self._set_flow(self._flow.clear))

    def thaw(self) -> None:
        """End :meth:`freeze`, and pass on what has come meanwhile."""
        self._call(self._set_flow(self._flow.set))

    def delay(self, seconds: float) -> None:
        """Pass on what comes from now on so many seconds later. The amount of data per second stays the same."""
        self._delay = seconds

    def _call(self, coroutine: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE)

    async def _accept(self) -> None:
        if self._listener is None:
            self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def _refuse(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def _set_flow(self, change: Callable[[], object]) -> None:
        change()

    async def _cut(self) -> None:
        tasks = list(self._connections)
        for task in tasks:
            _reset(self._connections[task])
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        task = asyncio.current_task()
        assert task is not None
        writers = self._connections[task] = [writer]
        try:
            await self._flow.wait()
            target_reader, target_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
            writers.append(target_writer)
            await asyncio.gather(self._pass_on(reader, target_writer), self._pass_on(target_reader, writer))
        except (OSError, asyncio.CancelledError):
            # The other side has closed or does not listen, or :meth:`cut` was called.
            _reset(writers)
        finally:
            del self._connections[task]
            for each in writers:
                each.close()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on one direction until its end."""
        chunks: Chunks = asyncio.Queue(_CHUNKS)
        reading = asyncio.create_task(self._read(reader, chunks))
        try:
            while chunk := await self._next(chunks):
                writer.write(chunk)
                await writer.drain()
            writer.write_eof()
            await reading
        finally:
            reading.cancel()

    async def _read(self, reader: asyncio.StreamReader, chunks: Chunks) -> None:
        """Read chunks until the end, and put each into the queue with the time at which it is due."""
        at_end = False
        while not at_end:
            chunk = b""
            with suppress(ConnectionError):
                chunk = await reader.read(_CHUNK)
            await chunks.put((self._loop.time() + self._delay, chunk))
            at_end = not chunk

    async def _next(self, chunks: Chunks) -> bytes:
        due, chunk = await chunks.get()
        await asyncio.sleep(due - self._loop.time())
        await self._flow.wait()
        return chunk


def _reset(writers: Iterable[asyncio.StreamWriter]) -> None:
    for writer in writers:
        connection = writer.get_extra_info("socket")
        if connection.fileno() != -1:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        writer.transport.abort()

"""A TCP proxy that breaks: it loses connections, refuses them, lets them hang, or is slow."""

import asyncio
import socket
import struct
import threading
from contextlib import suppress

from psycopg2.extensions import make_dsn

from tests.support.ports import free_port

PATIENCE = 30
_CHUNK = 2**16
_CHUNKS = 16
_AT_ONCE = struct.pack("ii", 1, 0)
"""For SO_LINGER: closing sends a reset, and nothing that still waits."""


class FaultProxy:
    """Stands before a server at 127.0.0.1. It works in a thread of its own, so it serves also while the test waits for something.

    As a context manager it listens from the beginning to the end of the block. Its methods return when they have taken effect.

    :param target_port: where the server listens.
    :ivar port: where to connect instead; the same all the time.
    :ivar accepted: how many connections there were in all.
    """

    def __init__(self, target_port):
        self._target_port = target_port
        self.port = free_port()
        self.accepted = 0
        self._delay = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._flow = asyncio.Event()
        self._flow.set()
        self._connections = {}
        self._listener = None

    def __enter__(self):
        self._thread.start()
        self.accept()
        return self

    def __exit__(self, *_):
        self.refuse()
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE)
        self._loop.close()

    @property
    def open(self):
        """How many connections there are."""
        return len(self._connections)

    def dsn(self, dsn):
        """Lead a database's connection string through here."""
        return make_dsn(dsn, host="127.0.0.1", port=self.port)

    def refuse(self):
        """Listen no more: connections are refused; those that there are go on."""
        self._call(self._refuse())

    def accept(self):
        """Listen again."""
        self._call(self._accept())

    def cut(self):
        """Reset all connections, on both sides."""
        self._call(self._cut())

    def freeze(self):
        """Pass nothing on, in neither direction, no end either; connections are accepted and kept."""
        self._call(self._set_flow(self._flow.clear))

    def thaw(self):
        """Pass on what has come meanwhile, and go on."""
        self._call(self._set_flow(self._flow.set))

    def delay(self, seconds):
        """Pass on what comes from now on so much later; as much as before at once."""
        self._delay = seconds

    def _call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE)

    async def _accept(self):
        if self._listener is None:
            self._listener = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def _refuse(self):
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def _set_flow(self, change):
        change()

    async def _cut(self):
        tasks = list(self._connections)
        for task in tasks:
            _reset(self._connections[task])
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader, writer):
        self.accepted += 1
        writers = self._connections[asyncio.current_task()] = [writer]
        try:
            await self._flow.wait()
            target_reader, target_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
            writers.append(target_writer)
            await asyncio.gather(self._pass_on(reader, target_writer), self._pass_on(target_reader, writer))
        except (OSError, asyncio.CancelledError):
            # The other side is lost, or not there, or all is cut.
            _reset(writers)
        finally:
            del self._connections[asyncio.current_task()]
            for each in writers:
                each.close()

    async def _pass_on(self, reader, writer):
        """One direction, until its end."""
        chunks = asyncio.Queue(_CHUNKS)
        reading = asyncio.create_task(self._read(reader, chunks))
        try:
            while chunk := await self._next(chunks):
                writer.write(chunk)
                await writer.drain()
            writer.write_eof()
            await reading
        finally:
            reading.cancel()

    async def _read(self, reader, chunks):
        """Take what comes, with the time at which it goes on; at last what stands for the end."""
        chunk = True
        while chunk:
            chunk = b""
            with suppress(ConnectionError):
                chunk = await reader.read(_CHUNK)
            await chunks.put((self._loop.time() + self._delay, chunk))

    async def _next(self, chunks):
        due, chunk = await chunks.get()
        await asyncio.sleep(due - self._loop.time())
        await self._flow.wait()
        return chunk


def _reset(writers):
    for writer in writers:
        connection = writer.get_extra_info("socket")
        if connection.fileno() != -1:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
        writer.transport.abort()

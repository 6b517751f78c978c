"""The shell's end of the control socket. It blocks, because the shell has nothing else to do."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from dhtwisted.cli.output import CapturedOutput, Output
from dhtwisted.config.settings import Settings
from dhtwisted.control.command import Command
from dhtwisted.control.protocol import (
    ANSWER_SECONDS,
    LONGEST_REPLY,
    LONGEST_REQUEST,
    VERSION,
    Greeting,
    data_id,
    decode_greeting,
    decode_reply,
    encode_line,
)
from dhtwisted.control.socket_file import connect_to, peer_ids, socket_path
from dhtwisted.control.status import Status
from dhtwisted.errors import UNREADABLE, CommandError
from dhtwisted.interfaces import ProviderContext
from dhtwisted.providers.lookup import open_provider

T = TypeVar("T")

_CURE = "read its log, and restart it if it hangs"


def connect(settings: Settings) -> Connection | None:
    """Connect to the server that works on the configured data.

    :returns: ``None`` where no server listens, or a server with other data.
    :raises ConfigurationError: the storage cannot be used as it is configured.
    :raises CommandError: the server does not answer, or refuses.
    """
    path = socket_path(settings, _state_directory(settings))
    if path is None:
        return None
    try:
        client = connect_to(path)
    except TimeoutError as error:
        raise CommandError(f"{error}; {_CURE}") from error
    if client is None:
        return None
    connection = Connection(client, path)
    try:
        if connection.greeting().storage == data_id(settings):
            return connection
    except BaseException:
        connection.close()
        raise
    connection.close()
    return None


def server_status(settings: Settings) -> dict[str, Any] | None:
    """Ask the running server for its state.

    :returns: what :meth:`~dhtwisted.service.startup.Startup.state` returns; ``None`` where no server listens.
    :raises ConfigurationError: the storage cannot be used as it is configured.
    :raises CommandError: the server does not answer, or refuses.
    """
    connection = connect(settings)
    if connection is None:
        return None
    with connection:
        output = CapturedOutput()
        connection.execute(Status(), output)
        state: dict[str, Any] = msgspec.json.decode(output.data)
        return state


class Connection:
    """A connection to a running server.

    :param client: a connected socket.
    :param path: the path of the server's socket.
    """

    def __init__(self, client: socket.socket, path: str) -> None:
        self._client, self._path = client, path
        self._process, _ = peer_ids(client)
        client.settimeout(ANSWER_SECONDS)
        self._file = client.makefile("rb")

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection. The server then cancels a long command."""
        self._file.close()
        self._client.close()

    def greeting(self) -> Greeting:
        """Read the first line of the server.

        :raises CommandError: the server refuses, or has another version.
        """
        greeting = self._read(decode_greeting)
        if not isinstance(greeting, Greeting):
            raise CommandError(greeting.error or "the server does not introduce itself")
        if greeting.version != VERSION:
            raise CommandError(f"the running server has version {greeting.program}, which this program cannot talk to: restart the server")
        return greeting

    def execute(self, command: Command, output: Output, progress: Callable[[int], None] = lambda objects: None) -> str | None:
        """Have the server execute a command.

        :param output: receives the output of the command.
        :param progress: called with how many objects are done.
        :returns: a line for the operator, or ``None``.
        :raises CommandError: the command failed.
        """
        self._send(command)
        while True:
            reply = self._read(decode_reply)
            if reply.error is not None:
                raise CommandError(reply.error)
            if reply.done:
                return reply.line
            if reply.output:
                output.write(self._read_output(reply.output), reply.part)
            elif reply.objects is not None:
                progress(reply.objects)

    def _send(self, command: Command) -> None:
        try:
            request = encode_line(command)
        except UnicodeError as error:
            raise CommandError("a value is not text in UTF-8") from error
        if len(request) > LONGEST_REQUEST:
            raise CommandError(f"the values have more than {LONGEST_REQUEST} bytes")
        try:
            self._client.sendall(request)
        except OSError as error:
            raise self._connection_lost() from error

    def _read(self, decode: Callable[[bytes], T]) -> T:
        line = self._receive(self._file.readline, LONGEST_REPLY)
        if not line.endswith(b"\n"):
            raise self._connection_lost()
        try:
            return decode(line)
        except UNREADABLE as error:
            raise CommandError(f"{self._path}: what listens there is no server of this version: {error}") from error

    def _read_output(self, size: int) -> bytes:
        data = self._receive(self._file.read, size)
        if len(data) < size:
            raise self._connection_lost()
        return data

    def _receive(self, read: Callable[[int], bytes], size: int) -> bytes:
        try:
            return read(size)
        except TimeoutError as error:
            raise CommandError(
                f"{self._path}: process {self._process} listens there, and has not answered for {ANSWER_SECONDS:.0f} seconds; {_CURE}"
            ) from error
        except ConnectionError as error:
            raise self._connection_lost() from error

    def _connection_lost(self) -> CommandError:
        return CommandError("the server ended before it reported the result; check whether the command was done")


def _state_directory(settings: Settings) -> str | os.PathLike[str] | None:
    # Nothing is opened. A storage may ask the reactor for the time, so it gets the real one.
    from twisted.internet import reactor

    directory: str | os.PathLike[str] | None = open_provider(
        "storage", settings.storage.provider, ProviderContext(reactor, settings)
    ).state_directory
    return directory

"""The shell's end of the control socket. It blocks: the shell has nothing else to do."""

import msgspec

from dhtwisted.cli.sinks import Gathered
from dhtwisted.control.place import connect_to, peer_of, socket_path
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
from dhtwisted.control.status import Status
from dhtwisted.errors import UNREADABLE, CommandError
from dhtwisted.interfaces import ProviderContext
from dhtwisted.providers.lookup import open_provider


def connect(settings):
    """Connect to the server that works on what the configuration names.

    :returns: a :class:`Connection`; ``None`` where no server listens, or one that works on other data.
    :raises ConfigurationError: the storage cannot be as it is configured.
    :raises CommandError: there is one that does not answer, or that refuses.
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


def server_status(settings):
    """Ask the running server how it is.

    :returns: what :meth:`~dhtwisted.service.startup.Startup.state` gives; ``None`` where no server listens.
    :raises ConfigurationError: the storage cannot be as it is configured.
    :raises CommandError: it does not answer, or refuses.
    """
    connection = connect(settings)
    if connection is None:
        return None
    with connection:
        sink = Gathered()
        connection.perform(Status(), sink)
        return msgspec.json.decode(sink.data)


_CURE = "look into its log, and restart it if it hangs"


class Connection:
    """A server that listens.

    :param client: a connected ``socket``.
    :param path: of the server's socket.
    """

    def __init__(self, client, path):
        self._client, self._path = client, path
        self._process, _ = peer_of(client)
        client.settimeout(ANSWER_SECONDS)
        self._file = client.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def close(self):
        """Go away; a server that is still at work gives up what is long."""
        self._file.close()
        self._client.close()

    def greeting(self):
        """What the server says first.

        :returns: a :class:`~dhtwisted.control.protocol.Greeting`.
        :raises CommandError: it says no, or another thing.
        """
        greeting = self._read(decode_greeting)
        if not isinstance(greeting, Greeting):
            raise CommandError(greeting.error or "the server does not say what it is")
        if greeting.version != VERSION:
            raise CommandError(f"the server that runs is of version {greeting.program}, which this program cannot talk to: restart it")
        return greeting

    def perform(self, command, sink, progress=lambda objects: None):
        """Have a command done.

        :param command: a :class:`~dhtwisted.control.commands.Command`.
        :param sink: takes its output.
        :param progress: called with how many objects are done.
        :returns: a line that tells the operator what was done, or ``None``.
        :raises CommandError: it was not done.
        """
        self._send(command)
        while True:
            reply = self._read(decode_reply)
            if reply.error is not None:
                raise CommandError(reply.error)
            if reply.done:
                return reply.line
            if reply.output:
                sink.write(self._take(reply.output), reply.part)
            elif reply.objects is not None:
                progress(reply.objects)

    def _send(self, command):
        try:
            request = encode_line(command)
        except UnicodeError as error:
            raise CommandError("what was given is no text in UTF-8") from error
        if len(request) > LONGEST_REQUEST:
            raise CommandError(f"what was given has more than {LONGEST_REQUEST} bytes")
        try:
            self._client.sendall(request)
        except OSError as error:
            raise self._gone() from error

    def _read(self, decode):
        line = self._receive(self._file.readline, LONGEST_REPLY)
        if not line.endswith(b"\n"):
            raise self._gone()
        try:
            return decode(line)
        except UNREADABLE as error:
            raise CommandError(f"{self._path}: what listens there is no server of this version: {error}") from error

    def _take(self, size):
        data = self._receive(self._file.read, size)
        if len(data) < size:
            raise self._gone()
        return data

    def _receive(self, read, size):
        try:
            return read(size)
        except TimeoutError as error:
            raise CommandError(
                f"{self._path}: process {self._process} listens there, and has not answered for {ANSWER_SECONDS:.0f} seconds; {_CURE}"
            ) from error
        except ConnectionError as error:
            raise self._gone() from error

    def _gone(self):
        return CommandError("the server has ended before it said what came of it; look whether it was done")


def _state_directory(settings):
    # Nothing of it is opened. The reactor is needed as it is: a storage may ask it for the time.
    from twisted.internet import reactor

    return open_provider("storage", settings.storage.provider, ProviderContext(reactor, settings)).state_directory

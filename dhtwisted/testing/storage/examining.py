"""The contract of a provider of storages that can be examined without opening one."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest_twisted
from twisted.internet.threads import deferToThread
from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyObject

from dhtwisted.errors import UNREADABLE
from dhtwisted.interfaces import CheckContext, IEntityStorage, IExaminableProvider, IFileProvider, ISharedStorage, ProviderContext
from dhtwisted.model import Examination, MessageQuery, Node, Notification, User
from dhtwisted.testing.contract import BrokenContract, in_time
from dhtwisted.testing.storage.base import SettableReactor, StorageContract, notification

PLACE = "storage.provider in devicehive.toml"
SHARED_MEMORY = "-shm"
"""How the name of a file ends that programs change when they only read: the shared memory of SQLite."""


class ExaminableStorageContract(StorageContract):
    """What ``IExaminableProvider`` and ``IFileProvider`` promise, of a provider of storages that says that it provides them.

    :cvar provider: what the package declares.
    :cvar settings: for the provider, a ``config.settings.Settings`` if it needs one.
    :cvar examine_seconds: how long an examination may take.
    """

    provider: IExaminableProvider
    settings: Any = None
    examine_seconds = 30.0

    def make_argument(self, directory: Path) -> str:
        """The argument of the provider, without ``name:``, for a directory as :meth:`make_storage` gets it."""
        raise NotImplementedError("a subclass of the contract suite must return the argument for a directory in make_argument")

    def make_storage(self, reactor: Any, directory: Path) -> Any:
        """Build the storage as the server does."""
        return self.provider.open(self.make_argument(directory), ProviderContext(reactor, self.settings))

    def test_says_that_it_can_be_examined(self) -> None:
        try:
            verifyObject(IExaminableProvider, self.provider)
        except Invalid as error:
            raise BrokenContract(f"a provider that has examine must declare it with implementer(IExaminableProvider): {error}") from error

    def test_says_where_the_data_are(self, directory: Path) -> None:
        if IFileProvider.providedBy(self.provider):
            argument = self.make_argument(directory)
            path = self.provider.data_file(argument)
            assert path == os.path.realpath(path), "data_file must return an absolute path without symbolic links"
            assert path == self.provider.data_file(argument), "data_file must return the same path for the same argument"

    @pytest_twisted.ensureDeferred
    async def test_before_the_first_start_nothing_is_made(self, clock: SettableReactor, directory: Path) -> None:
        found = await self._examine(clock, directory)
        assert found.newest is None, "newest must be None while nothing is stored"
        assert not found.is_served and not found.nodes, "no server works on the data yet"
        async with self.opened(clock, directory):
            pass  # It must be empty.

    @pytest_twisted.ensureDeferred
    async def test_while_a_server_works(self, clock: SettableReactor, directory: Path) -> None:
        async with self.opened(clock, directory) as storage:
            node = Node(key=7, has_bus=False)
            if ISharedStorage.providedBy(storage):
                await storage.announce(node)
            message = notification()
            await storage.append([message])
            found = await self._examine(clock, directory)
            assert found.newest in (None, message.arrived), "newest must be the time of the last append"
            assert found.is_served in (None, True), "is_served must be true, or None when the provider cannot know it"
            assert not ISharedStorage.providedBy(storage) or node in found.nodes, "nodes must have the servers that were announced"
            await storage.append([notification("later")])
            names = [each.name for each in await storage.find_messages(Notification, MessageQuery())]
            assert names == ["n", "later"], "an examination must not change the data"

    @pytest_twisted.ensureDeferred
    async def test_after_a_server(self, clock: SettableReactor, directory: Path) -> None:
        logins = []
        async with self.opened(clock, directory) as storage:
            await storage.append([notification()])
            if IEntityStorage.providedBy(storage):
                logins.append((await storage.insert(User(login="anna"))).login)
        found = await self._examine(clock, directory)
        assert not found.is_served and not found.nodes, "no server works on the data any more"
        assert found.logins is None or list(found.logins) == logins, "logins must be those of all users, or None when they are not known"
        async with self.opened(clock, directory, has_data=True):
            pass  # It can be opened after an examination.

    async def _examine(self, clock: SettableReactor, directory: Path) -> Examination:
        """Examine the storage of a directory in a thread, as it may block.

        :raises BrokenContract: that takes too long, changes a file, or returns what it must not.
        """
        context = CheckContext(ProviderContext(clock, self.settings), PLACE)
        argument, before = self.make_argument(directory), _files(directory)
        returned = await in_time(deferToThread(_outcome, lambda: self.provider.examine(argument, context)), self.examine_seconds, "examine")
        if isinstance(returned, Exception):
            raise BrokenContract(f"examine raised {returned!r}: what is wrong must be a finding") from returned
        assert _files(directory) == before, "examine must not make, change or remove a file"
        return _verified(returned)


def _outcome(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except Exception as error:
        # It is reported with a sentence, not with the traceback of a thread.
        return error


def _verified(returned: Any) -> Examination:
    try:
        found = msgspec.convert(msgspec.to_builtins(returned), Examination)
    except (TypeError, *UNREADABLE) as error:
        raise BrokenContract(f"examine must return a model.Examination: {error}") from error
    for finding in found.findings:
        for text in (finding.sentence, finding.cure, finding.topic):
            if "\n" in text:
                raise BrokenContract(f"a finding must be one line: {text!r}")
        if not finding.sentence:
            raise BrokenContract(f"a finding must have a sentence: {finding!r}")
    return found


def _files(directory: Path) -> dict[str, tuple[int, int]]:
    """Size and time of each file, but for those that every reader changes."""
    states = {str(path.relative_to(directory)): path.stat() for path in sorted(directory.rglob("*")) if path.is_file()}
    return {name: (state.st_size, 0 if name.endswith(SHARED_MEMORY) else state.st_mtime_ns) for name, state in states.items()}

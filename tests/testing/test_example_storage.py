"""The message storage of docs/storage-provider.md: it keeps the contract, and what is particular to a journal."""

import os
import re
import sys
import time
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from dhtwisted.cli.doctor.examination import examine
from dhtwisted.config.settings import Settings, StorageSettings
from dhtwisted.config.sources import Configuration
from dhtwisted.errors import ConfigurationError
from dhtwisted.interfaces import IProvider, ProviderContext
from dhtwisted.model import MessageQuery, Notification
from dhtwisted.providers import lookup
from dhtwisted.testing.storage import DurableStorageContract, ExaminableStorageContract, MessageStorageContract
from dhtwisted.testing.storage.base import SettableReactor, notification
from tests.support.packages import ROOT

EXAMPLE = ROOT / "tests" / "example_storage"

# The contract runs this module in a process of its own, where no fixture sets the path.
if str(EXAMPLE) not in sys.path:
    sys.path.append(str(EXAMPLE))

from dhtwisted_example_storage import journal  # noqa: E402


class TestJournalStorage(MessageStorageContract, DurableStorageContract):
    """The example keeps the contract of a durable message storage."""

    def make_storage(self, reactor, directory):
        return journal.open(str(directory / "journal"), ProviderContext(reactor, None))


class TestJournalExamination(ExaminableStorageContract):
    """The example can be examined."""

    provider = journal

    def make_argument(self, directory):
        return str(directory / "journal")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "journal"


@pytest.fixture
def storage(path, reactor):
    storage = journal.open(str(path), ProviderContext(reactor, None))
    yield storage
    pytest_twisted.blockon(Deferred.fromCoroutine(storage.close()))


def test_is_a_provider_of_messages():
    assert verifyObject(IProvider, journal)
    assert (journal.role, journal.name, journal.argument_form) == ("messages", "journal", "PATH")


@pytest_twisted.ensureDeferred
async def test_a_torn_line_is_dropped(storage, path):
    await storage.open()
    for name in "ab":
        await storage.append([notification(name)])
    await storage.close()
    os.truncate(path, path.stat().st_size - 1)
    await storage.open()
    assert [m.name for m in await storage.find_messages(Notification, MessageQuery())] == ["a"]
    await storage.append([notification("c")])
    await storage.close()
    await storage.open()
    assert [(m.id, m.name) for m in await storage.find_messages(Notification, MessageQuery())] == [(1, "a"), (2, "c")]


@pytest.mark.parametrize("line", [b"{}", b'{"\xff":1}', b"[" * 100_000], ids=lambda line: ascii(line[:12]))
@pytest_twisted.ensureDeferred
async def test_a_damaged_journal_is_refused(storage, path, line):
    path.write_bytes(line + b"\n")
    with pytest.raises(ConfigurationError, match="damaged at byte 0"):
        await storage.open()


@pytest_twisted.ensureDeferred
async def test_a_second_opener_is_refused(storage, path, reactor):
    await storage.open()
    with pytest.raises(ConfigurationError, match="in use by another process"):
        await journal.open(str(path), ProviderContext(reactor, None)).open()


@pytest_twisted.ensureDeferred
async def test_a_missing_directory_is_refused(tmp_path, reactor):
    with pytest.raises(ConfigurationError, match="No such file or directory"):
        await journal.open(str(tmp_path / "missing" / "journal"), ProviderContext(reactor, None)).open()


@pytest_twisted.ensureDeferred
async def test_the_doctor_shows_what_the_provider_found(storage, path, monkeypatch):
    monkeypatch.setattr(lookup, "PROVIDERS", (*lookup.PROVIDERS, journal))
    configuration = Configuration(Settings(storage=StorageSettings(provider="memory:", messages=f"journal:{path}")))
    ahead = "and the newest message is 35"

    def lines():
        return [str(finding) for finding in examine(lambda: configuration)]

    assert f"ok       messages: {path}: is made at the first start" in lines()
    storage._reactor = SettableReactor(storage._reactor)
    storage._reactor.time = time.time() + 3600
    await storage.open()
    await storage.append([notification()])
    found = lines()
    assert f"ok       messages: {path}: {path.stat().st_size} bytes; a server works on it" in found
    assert any(line.startswith("warning  clock: ") and ahead in line for line in found), "the doctor uses what the provider knows"
    assert any(line.startswith(f"ok       storage: {path.parent}: ") for line in found), "and looks at the disk of its file"
    await storage.close()
    path.write_bytes(b"{}\n")
    assert f"wrong    messages: {path}: is damaged at byte 0; stop the server, and put back a copy of the journal" in lines()


def test_the_document_shows_the_example_as_it_is():
    sources = [path.read_text() for path in (*EXAMPLE.rglob("*.py"), EXAMPLE / "setup.cfg", Path(__file__))]
    blocks = re.findall(r"```(?:python|ini)\n(.*?)```", (ROOT / "docs" / "storage-provider.md").read_text(), re.DOTALL)
    assert len(blocks) >= 8
    for block in blocks:
        assert any(block in source for source in sources), block

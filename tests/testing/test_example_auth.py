"""The auth provider of docs/auth-provider.md: it keeps the contract, and takes over by configuration alone."""

import re
from pathlib import Path

import pytest

from dhtwisted.errors import ConfigurationError
from dhtwisted.interfaces import ProviderContext
from dhtwisted.model import User
from dhtwisted.providers.jwt.passwords import make_record
from dhtwisted.testing.auth import AuthContract
from dhtwisted.testing.server import settings
from tests.support.packages import ROOT, install, path_of
from tests.support.servers.process import PASSWORD, ServerProcess

EXAMPLE = ROOT / "tests" / "example_auth"


def open_text_file(argument, context):
    from dhtwisted_example_auth import open_text_file

    return open_text_file(argument, context)


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLE))


class TestTextFileAuth(AuthContract):
    """The example keeps the contract of an auth provider."""

    async def make_auth(self, storage, reactor):
        self.path.touch()
        return open_text_file(str(self.path), ProviderContext(reactor, settings(), storage))

    async def add_user(self, storage, auth, login, password, status):
        self.path.write_text(f"{login}:{await auth.hash_password(password)}\n", encoding="utf-8")
        return await storage.insert(User(login=login, status=status))

    async def lose_directory(self, auth):
        self.path.unlink()

    @pytest.fixture(autouse=True)
    def own_file(self, tmp_path):
        self.path = tmp_path / "logins"


def test_a_missing_file_is_a_mistake_of_the_configuration(tmp_path):
    with pytest.raises(ConfigurationError, match="absent is no file"):
        open_text_file(str(tmp_path / "absent"), None)


def test_the_document_shows_the_example_as_it_is():
    sources = [path.read_text() for path in (*EXAMPLE.rglob("*.py"), EXAMPLE / "setup.cfg", Path(__file__))]
    blocks = re.findall(r"```(?:python|ini)\n(.*?)```", (ROOT / "docs" / "auth-provider.md").read_text(), re.DOTALL)
    assert len(blocks) == 6
    for block in blocks:
        assert any(block in source for source in sources), block


@pytest.fixture
def start_with_logins(tmp_path):
    """Install the example, and start a server whose logins are in a text file."""
    install(EXAMPLE, tmp_path / "site")
    servers = []

    def start(logins):
        (tmp_path / "logins").write_text(logins)
        path = path_of(tmp_path / "site", ROOT)
        servers.append(ServerProcess(tmp_path, PYTHONPATH=path, DHTWISTED_AUTH_PROVIDER="textfile:logins"))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


@pytest.mark.slow
@pytest.mark.lowest
def test_it_takes_over_by_configuration_alone(start_with_logins):
    server = start_with_logins(f"dhadmin:{make_record(PASSWORD, 10)}\n")
    client = server.connect()
    assert client.call("server/info")["info"]["apiVersion"]
    client.close()


@pytest.mark.slow
@pytest.mark.lowest
def test_a_login_that_is_not_in_the_file_is_refused_although_the_storage_knows_it(start_with_logins):
    server = start_with_logins("nobody:\n")
    with pytest.raises(AssertionError, match="Invalid credentials"):
        server.connect()

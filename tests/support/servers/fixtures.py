"""Fixtures of tests that run servers as processes."""

from functools import partial

import pytest

from tests.support.packages import ROOT, install
from tests.support.servers.process import ServerProcess
from tests.support.servers.shell import run


@pytest.fixture(scope="session")
def journal_site(tmp_path_factory):
    """Where the example of a message storage is installed; to be put on ``PYTHONPATH``."""
    target = tmp_path_factory.mktemp("journal") / "site"
    install(ROOT / "tests" / "example_storage", target)
    return target


@pytest.fixture
def start(tmp_path):
    """A function that starts a server in the test's directory; what still runs at the end is killed."""
    servers = []

    def start_server(*arguments, **options):
        servers.append(ServerProcess(tmp_path, *arguments, **options))
        return servers[-1]

    yield start_server
    for server in servers:
        server.kill()


@pytest.fixture
def shell(tmp_path):
    """A function that runs a command in the server's directory."""
    return partial(run, tmp_path)

"""Fixtures for tests that run servers as processes."""

import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support.packages import ROOT, install
from tests.support.servers.process import ServerProcess
from tests.support.servers.shell import run


@pytest.fixture(scope="session")
def journal_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory in which the example of a message storage is installed, for ``PYTHONPATH``."""
    target = tmp_path_factory.mktemp("journal") / "site"
    install(ROOT / "tests" / "example_storage", target)
    return target


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., ServerProcess]]:
    """A function that starts a server in the test's directory. Servers that still run at the end are killed."""
    servers: list[ServerProcess] = []

    def start_server(*arguments: str, **options: Any) -> ServerProcess:
        servers.append(ServerProcess(tmp_path, *arguments, **options))
        return servers[-1]

    yield start_server
    for server in servers:
        server.kill()


@pytest.fixture
def shell(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """A function that runs a command in the server's directory."""
    return partial(run, tmp_path)

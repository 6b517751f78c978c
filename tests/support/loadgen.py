"""The load generator, compiled for tests and run on small servers of this process."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import threads
from twisted.internet.interfaces import IReactorTCP
from twisted.internet.protocol import ServerFactory

SOURCE = Path(__file__).parents[2] / "bench" / "loadgen"
COMPILER = shlex.split(os.environ.get("CC", "cc"))
SECONDS = 60
"""No run takes that long, unless it hangs."""

CLEAN, NOT_DONE, LOSS = 0, 2, 3
LOST_AFTER = 0.7
"""Seconds for which the generator waits where something is lost on purpose; the servers are in this process, and quick."""

needs_compiler = pytest.mark.skipif(
    not (shutil.which(COMPILER[0]) and shutil.which("make")),
    reason=f"the load generator is written in C, and {COMPILER[0]} or make is missing",
)


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generator, compiled for these tests; warnings are errors."""
    directory = tmp_path_factory.mktemp("loadgen")
    flags = os.environ.get("CFLAGS", "-O1 -g") + " -Werror"
    done = subprocess.run(["make", "-s", "-C", SOURCE, f"OUT={directory}", f"CFLAGS={flags}"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return directory / "loadgen"


class Outcome:
    """The result of a run.

    :ivar status: its exit status.
    :ivar figures: what it printed, or ``None``.
    :ivar said: what it wrote besides.
    """

    def __init__(self, done: subprocess.CompletedProcess[str]) -> None:
        self.status, self.said = done.returncode, done.stderr
        self.figures: Any = json.loads(done.stdout) if done.stdout else None

    @property
    def faults(self) -> dict[str, int]:
        """The counts of what must not be, without those that are nought."""
        names = "unanswered answered_twice undelivered delivered_twice unknown errors out_of_order answers_out_of_order connections_lost"
        return {name: self.figures[name] for name in names.split() if self.figures[name]}


def start(program: Path, **options: Any) -> Outcome:
    """Run it to its end; options as on the command line, a list gives one several times."""
    command = [str(program)]
    for name, value in options.items():
        for one in value if isinstance(value, list) else [value]:
            command += [f"--{name}"] if one is True else [f"--{name}={one}"]
    return Outcome(subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False))


@pytest_twisted.async_yield_fixture
async def load(program: Path, reactor: IReactorTCP) -> AsyncIterator[Callable[..., Awaitable[Outcome]]]:
    """Runs load on a server: ``await load(factory, **options)``."""
    ports: list[Any] = []

    async def run(factory: ServerFactory[Any], **options: Any) -> Outcome:
        ports.append(reactor.listenTCP(0, factory, interface="127.0.0.1"))
        port = ports[-1].getHost().port
        defaults = {"warm": 0, "secs": SECONDS / 2, "requests": 200, "patience": 1.5, "window": 4, "port": port}
        return await threads.deferToThread(start, program, **defaults | options)

    yield run
    for port in ports:
        await port.stopListening()

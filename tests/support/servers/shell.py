"""Commands of the shell, as processes."""

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.support.servers.process import CHECKOUT, DEVICEHIVE, Client, ServerProcess

STORAGE = ("--storage", "file:hive.sqlite")
SECONDS = 60


def run(
    directory: Path, *arguments: str, given: str = "", storage: Sequence[str] = STORAGE, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a command in the directory of a server.

    :param given: its standard input.
    """
    values = {"DHTWISTED_AUTH_PASSWORD_COST": "10", "PYTHONPATH": str(CHECKOUT)} | environment
    return subprocess.run(
        [*DEVICEHIVE, *storage, *arguments],
        cwd=directory,
        env=os.environ | values,
        input=given,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )


def examine(directory: Path, *arguments: str, **environment: str) -> tuple[int, list[str]]:
    """Run ``devicehive doctor``. Returns the exit status and the lines of its output."""
    # The doctor would report the variables of the tests, which are not options.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DHTWISTED_")}
    done = subprocess.run(
        [*DEVICEHIVE, *arguments, "doctor"],
        cwd=directory,
        env=inherited | {"PYTHONPATH": str(CHECKOUT), "DHTWISTED_AUTH_PASSWORD_COST": "10"} | environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


def done(result: subprocess.CompletedProcess[str]) -> str:
    """The output of a command that must succeed."""
    assert result.returncode == 0, result.stderr
    return result.stdout


def failed(result: subprocess.CompletedProcess[str]) -> str:
    """The one line of a command that must fail."""
    assert (result.returncode, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    return line


def log_in(server: ServerProcess, login: str, password: str) -> str:
    """Log in. Returns the access token."""
    client = Client(server.url())
    try:
        return client.call("token", login=login, password=password)["accessToken"]
    finally:
        client.close()

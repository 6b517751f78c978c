"""Commands of the shell, as processes."""

import os
import subprocess

from tests.system.process import CHECKOUT, DEVICEHIVE, Client

STORAGE = ("--storage", "file:hive.sqlite")
SECONDS = 60


def run(directory, *arguments, given="", storage=STORAGE, **environment):
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


def done(result):
    """The output of a command that must succeed."""
    assert result.returncode == 0, result.stderr
    return result.stdout


def failed(result):
    """The one line of a command that must fail."""
    assert (result.returncode, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    return line


def log_in(server, login, password):
    """The token that a login gives."""
    client = Client(server.url())
    try:
        return client.call("token", login=login, password=password)["accessToken"]
    finally:
        client.close()

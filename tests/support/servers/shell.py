"""Commands of the shell, as processes."""

import os
import subprocess

from tests.support.servers.process import CHECKOUT, DEVICEHIVE, Client

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


def examine(directory, *arguments, **environment):
    """Run ``devicehive doctor``; returns the exit status and the lines."""
    # Those of the tests are no options, which the doctor would say.
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

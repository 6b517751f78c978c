"""Python in a process of its own, with the modules of these tests."""

import os
import subprocess
import sys

from tests.support.packages import path_of
from tests.support.postgres.workplace import CHECKOUT


def start_python(code, *, paths=(), prelude=None, **environment):
    """Start Python with a program.

    :param paths: directories for modules, before those of this process.
    :param prelude: called in the new process before Python starts.
    :param environment: further variables; ``None`` removes one.
    :returns: a ``subprocess.Popen`` with its input and output as pipes of text.
    """
    variables = os.environ | {"PYTHONPATH": path_of(*paths, CHECKOUT)} | environment
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env={name: value for name, value in variables.items() if value is not None},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=prelude,
    )


def run_python(code, **options):
    """Run it, which must succeed; returns what it has written."""
    process = start_python(code, **options)
    output, _ = process.communicate()
    assert process.returncode == 0
    return output

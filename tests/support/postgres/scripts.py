"""Python programs as processes, with the modules of these tests."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests.support.packages import path_of
from tests.support.postgres.workplace import CHECKOUT


def start_python(
    code: str, *, paths: Iterable[str | Path] = (), prelude: Callable[[], object] | None = None, **environment: str | None
) -> subprocess.Popen[str]:
    """Start a Python program.

    :param paths: directories of modules, in front of those of this process.
    :param prelude: called in the new process before Python starts.
    :param environment: further variables; ``None`` removes one.
    :returns: the process; its input and output are pipes of text.
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


def run_python(code: str, **options: Any) -> str:
    """Run a Python program that must succeed. Returns its output."""
    process = start_python(code, **options)
    output, _ = process.communicate()
    assert process.returncode == 0
    return output

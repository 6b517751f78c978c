"""Compiled modules of a test run, when the environment forbids Python to write them beside the sources.

They go into a temporary folder, which is removed at the end. Otherwise each server that a test starts would compile everything again,
which takes a third of a second.
"""

import os
import shutil
import tempfile

import pytest


def pytest_configure(config: pytest.Config) -> None:
    # The processes of pytest-xdist inherit the variable.
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
        folder = tempfile.mkdtemp(prefix="dhtwisted-bytecode-")
        os.environ["PYTHONPYCACHEPREFIX"] = folder
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))

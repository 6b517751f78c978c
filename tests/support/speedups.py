"""The optional C module for tests."""

import shutil
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from dhtwisted.kit.speedups import SPEEDUPS


def speedups() -> Any:
    """The module. Only where it could not be built, the test is skipped."""
    if SPEEDUPS is None:
        can_build = shutil.which("cc") and Path(sysconfig.get_path("include"), "Python.h").exists()
        assert not can_build, "dhtwisted.speedups is not built: install the checkout again (pip install -e .)"
        pytest.skip("dhtwisted.speedups is not built: that needs a C compiler and the headers of Python")
    return SPEEDUPS

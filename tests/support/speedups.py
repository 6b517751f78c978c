"""The optional C module for tests."""

import shutil
from typing import Any

import pytest

from dhtwisted.kit.speedups import SPEEDUPS


def speedups() -> Any:
    """The module. Only where no compiler could build it, the test is skipped."""
    if SPEEDUPS is None:
        assert shutil.which("cc") is None, "dhtwisted.speedups is not built: install the checkout again (pip install -e .)"
        pytest.skip("dhtwisted.speedups is not built, since there is no C compiler")
    return SPEEDUPS

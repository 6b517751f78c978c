"""Finds the optional C module. It is built where a compiler is there; see ``setup.py``."""

from __future__ import annotations

from importlib import import_module
from typing import Any

SPEEDUPS: Any = None
"""The module ``dhtwisted.speedups``; ``None`` where it is not built, and Python does the same more slowly."""

IN_USE = "frames in Python"
"""Which of the two is in use, for people."""

try:
    SPEEDUPS = import_module("dhtwisted.speedups")
    IN_USE = "frames in C"
except ModuleNotFoundError:
    # It is not built.
    pass
except ImportError as error:
    IN_USE = f"frames in Python, since the C module cannot be loaded: {error}"

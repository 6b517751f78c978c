"""Finds the optional C module. It is built where a compiler is there; see ``setup.py``."""

from __future__ import annotations

from importlib import import_module
from typing import Any

SPEEDUPS: Any
"""The module ``dhtwisted.speedups``; ``None`` where it is not built, and Python does the same more slowly."""

try:
    SPEEDUPS = import_module("dhtwisted.speedups")
except ImportError:
    SPEEDUPS = None

IN_USE = "frames in Python" if SPEEDUPS is None else "frames in C"
"""Which of the two is in use, for people."""

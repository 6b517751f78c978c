"""Fixtures of the tests of the benchmark."""

from tests.support.loadgen import load, program

__all__ = ["load", "program"]

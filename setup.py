"""For tools that still run it; all metadata is in setup.cfg."""

from setuptools import setup

setup()

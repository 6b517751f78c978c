"""The optional C module; all metadata is in setup.cfg.

Where no compiler is there, the build goes on without it, and the server does the same in Python. ``DEVICEHIVE_PURE_PYTHON=1`` leaves it out
everywhere, for a wheel that fits every machine.
"""

import os

from setuptools import Extension, setup

# One build is for all versions of Python from 3.11 on.
SPEEDUPS = Extension("dhtwisted.speedups", ["dhtwisted/speedups.c"], optional=True, py_limited_api=True)

if os.environ.get("DEVICEHIVE_PURE_PYTHON"):
    setup()
else:
    setup(ext_modules=[SPEEDUPS], options={"bdist_wheel": {"py_limited_api": "cp311"}})

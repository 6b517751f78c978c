"""Where Python may not write compiled modules, those of a test run are in a folder of their own, which is removed at its end.

Else each server that a test starts would compile everything again, which takes a third of a second.
"""

import os
import shutil
import tempfile


def pytest_configure(config):
    # The processes of pytest-xdist inherit it.
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
        folder = tempfile.mkdtemp(prefix="dhtwisted-bytecode-")
        os.environ["PYTHONPYCACHEPREFIX"] = folder
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))

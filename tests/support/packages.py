"""Install packages for tests, without network and without touching the environment that runs them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SECONDS = 120
_LEFT_BEHIND = shutil.ignore_patterns(
    *(".git", ".venv", ".tox", "build", "dist", "*.egg-info", "__pycache__", "dropin.cache", "*.sqlite*"),
    *(".coverage", ".hypothesis", ".*_cache"),
)


def install(source, target):
    """Install a source tree into a directory of its own.

    :param source: where its setup.cfg is; it is copied first, since building leaves files behind.
    :param target: the directory; put it on ``PYTHONPATH``.
    """
    copy = Path(target).with_suffix(".source")
    copy_source(source, copy)
    pip("install", "--no-deps", "--no-index", "--no-build-isolation", "--target", str(target), str(copy))


def copy_source(source, copy):
    """Copy a source tree without what tools have left in it."""
    shutil.copytree(source, copy, ignore=_ignored)


def _ignored(folder, names):
    # packaging/deb/build is a script of ours.
    return {name for name in _LEFT_BEHIND(folder, names) if name != "build" or Path(folder, name).is_dir()}


def pip(*arguments):
    """Run pip; a failure shows what it said."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def path_of(*directories):
    """Write a ``PYTHONPATH``: these first, then what this process has."""
    return os.pathsep.join(filter(None, [*map(str, directories), os.environ.get("PYTHONPATH")]))

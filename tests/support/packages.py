"""Install packages for tests, without a network and without changes to the environment that runs the tests."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SECONDS = 120
_LEFT_BEHIND = shutil.ignore_patterns(
    *(".git", ".venv", ".tox", "build", "dist", "*.egg-info", "__pycache__", "dropin.cache", "*.sqlite*", "*.so"),
    *(".coverage", ".hypothesis", ".*_cache"),
)


def install(source: Path, target: Path) -> None:
    """Install a source tree into a directory of its own.

    :param source: the directory of its setup.cfg. It is copied first, since a build leaves files behind.
    :param target: the directory; put it on ``PYTHONPATH``.
    """
    copy = Path(target).with_suffix(".source")
    copy_source(source, copy)
    pip("install", "--no-deps", "--no-index", "--no-build-isolation", "--target", str(target), str(copy))


def copy_source(source: Path, copy: Path) -> None:
    """Copy a source tree without the files that tools have made in it."""
    shutil.copytree(source, copy, ignore=_ignored)


def _ignored(folder: str, names: list[str]) -> set[str]:
    # packaging/deb/build is a script of ours.
    return {name for name in _LEFT_BEHIND(folder, names) if name != "build" or Path(folder, name).is_dir()}


def pip(*arguments: str) -> None:
    """Run pip. A failure shows its output."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def path_of(*directories: str | Path) -> str:
    """Build a ``PYTHONPATH``: these directories first, then those of this process."""
    return os.pathsep.join(filter(None, [*map(str, directories), os.environ.get("PYTHONPATH")]))

"""Clients in JavaScript, from npm, as the lock file pins them."""

import fcntl
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.packages import ROOT

SCRIPTS = ROOT / "tests" / "system" / "javascript"
INSTALL_SECONDS = 300


@pytest.fixture(scope="session")
def javascript(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The scripts with the clients installed beside them; kept for the next run where pytest has a cache."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("The clients in JavaScript are not tried: install Node.js with npm (Debian: nodejs, npm), 18 or newer.")
    cache = getattr(pytestconfig, "cache", None)
    directory = Path(cache.mkdir("javascript-client") if cache else tmp_path_factory.mktemp("javascript"))
    with (directory / "lock").open("w") as turn:
        # Tests may run in several processes.
        fcntl.flock(turn, fcntl.LOCK_EX)
        _install(directory)
    return directory


def _install(directory: Path) -> None:
    lock = (SCRIPTS / "package-lock.json").read_bytes()
    installed = directory / "installed-lock.json"
    shutil.copytree(SCRIPTS, directory, dirs_exist_ok=True)
    if not installed.exists() or installed.read_bytes() != lock:
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
        assert done.returncode == 0, f"npm could not install the clients (a package index is needed for the first time):\n{done.stderr}"
        installed.write_bytes(lock)

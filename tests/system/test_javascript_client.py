"""The official JavaScript client, from npm, unmodified, over ``ws://`` and ``http://``."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.servers.process import PASSWORD

pytestmark = pytest.mark.slow

SCRIPTS = Path(__file__).with_name("javascript")
PARTS = sorted(script.stem for script in SCRIPTS.glob("parts/*.js"))
INSTALL_SECONDS, RUN_SECONDS = 300, 90
WEBSOCKET = dict.fromkeys(["mainServiceURL"], ("ws", "/dh/websocket"))
REST = {"mainServiceURL": ("http", "/api/rest"), "authServiceURL": ("http", "/auth/rest"), "pluginServiceURL": ("http", "/plugin/rest")}


@pytest.fixture(scope="module")
def client(pytestconfig, tmp_path_factory):
    """The scripts with the client installed beside them, as the lock file pins it; kept for the next run where pytest has a cache."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("The official JavaScript client is not tried: install Node.js with npm (Debian: nodejs, npm), 18 or newer.")
    cache = getattr(pytestconfig, "cache", None)
    directory = Path(cache.mkdir("javascript-client") if cache else tmp_path_factory.mktemp("javascript"))
    lock = (SCRIPTS / "package-lock.json").read_bytes()
    installed = directory / "installed-lock.json"
    shutil.copytree(SCRIPTS, directory, dirs_exist_ok=True)
    if not installed.exists() or installed.read_bytes() != lock:
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
        assert done.returncode == 0, f"npm could not install the client (a package index is needed for the first time):\n{done.stderr}"
        installed.write_bytes(lock)
    return directory


def test_there_are_parts():
    assert {"devices", "groups", "messages", "server", "subscriptions", "tokens", "users"} == set(PARTS)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("bases", [WEBSOCKET, REST], ids=["ws", "http"])
def test_part(client, start, bases, part):
    server = start("--storage", "memory:", DHTWISTED_AUTH_STRICT_EXPIRY="true")
    settings = {"login": "dhadmin", "password": PASSWORD} | {name: server.url(path, scheme) for name, (scheme, path) in bases.items()}
    command = ["node", "run.js", part, json.dumps(settings)]
    done = subprocess.run(command, cwd=client, capture_output=True, text=True, timeout=RUN_SECONDS, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "done"), done.stdout + done.stderr

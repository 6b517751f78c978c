"""The official JavaScript client, from npm, unmodified, over ``ws://`` and ``http://``."""

import json
import subprocess

import pytest

from tests.support.servers.node import SCRIPTS
from tests.support.servers.process import PASSWORD

pytestmark = pytest.mark.slow

PARTS = sorted(script.stem for script in SCRIPTS.glob("parts/*.js"))
RUN_SECONDS = 90
WEBSOCKET = dict.fromkeys(["mainServiceURL"], ("ws", "/dh/websocket"))
REST = {"mainServiceURL": ("http", "/api/rest"), "authServiceURL": ("http", "/auth/rest"), "pluginServiceURL": ("http", "/plugin/rest")}


def test_there_are_parts():
    assert {"devices", "groups", "messages", "server", "subscriptions", "tokens", "users"} == set(PARTS)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("bases", [WEBSOCKET, REST], ids=["ws", "http"])
def test_part(javascript, start, bases, part):
    server = start("--storage", "memory:", DHTWISTED_AUTH_STRICT_EXPIRY="true")
    settings = {"login": "dhadmin", "password": PASSWORD} | {name: server.url(path, scheme) for name, (scheme, path) in bases.items()}
    command = ["node", "run.js", part, json.dumps(settings)]
    done = subprocess.run(command, cwd=javascript, capture_output=True, text=True, timeout=RUN_SECONDS, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "done"), done.stdout + done.stderr

"""What docs/first-steps.md shows works as it stands there."""

import json
import re
import shlex
from urllib.request import Request, urlopen

import pytest
import websocket

from dhtwisted.tap import Options
from tests.support.packages import ROOT
from tests.support.servers.process import PASSWORD, ServerProcess

PAGE = (ROOT / "docs" / "first-steps.md").read_text()
VARYING = {"accessToken", "refreshToken", "id", "timestamp"}
SECONDS = 30


@pytest.fixture
def server(tmp_path):
    server = ServerProcess(tmp_path)
    yield server
    server.kill()


def block(language, word):
    """The one block of code in a language that has a word."""
    (found,) = [text for text in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) if word in text]
    return found.replace('"password": "..."', f'"password": "{PASSWORD}"')


def shown(value):
    """A message without what is another each time."""
    if isinstance(value, dict):
        return {name: ... if name in VARYING else shown(member) for name, member in value.items()}
    return value


def test_the_dialogue_over_websocket(server):
    client = websocket.create_connection(server.url(), timeout=SECONDS)
    token = None
    for line in block("text", "requestId").splitlines():
        if line.startswith("> "):
            client.send(line[2:].replace("<the access token>", token or ""))
        else:
            reply = json.loads(client.recv())
            token = token or reply["accessToken"]
            assert shown(reply) == shown(json.loads(line[2:]))
    client.close()


def curl(line, variables):
    """Do what a line with curl does; returns the status and the JSON of the answer, or ``None`` where it has no body."""
    words = iter(shlex.split(re.sub(r"\$(\w+)", lambda match: variables[match[1]], line))[1:])
    headers, body, method, url = {}, None, None, None
    for word in words:
        if word == "--json":
            body = next(words).encode()
            headers["Content-Type"] = "application/json"
        elif word == "--oauth2-bearer":
            headers["Authorization"] = f"Bearer {next(words)}"
        elif word == "-X":
            method = next(words)
        else:
            url = word
    with urlopen(Request(url, body, headers, method=method), timeout=SECONDS) as answer:
        content = answer.read()
        return answer.status, json.loads(content) if content else None


def test_the_dialogue_over_http(server):
    variables = {"API": server.url("/api/rest", "http")}
    _, login, _, *others = block("sh", "curl").splitlines()
    assert login.startswith("curl ")
    status, tokens = curl(login, variables)
    assert status == 201
    variables["TOKEN"] = tokens["accessToken"]
    answers = [curl(line, variables) for line in others]
    assert [status for status, _ in answers] == [204, 201, 200]
    (polled,) = [each for each in answers[-1][1] if each["notification"] == "temperature"]
    assert polled["parameters"] == {"celsius": 22}


def test_addresses_that_it_names_are_served(server):
    sockets, rest = (re.findall(r"`(/\w[/\w]*)`", line) for line in re.findall(r"^- (?:WebSockets are|HTTP is) .*", PAGE, re.MULTILINE))
    *sockets, one, other = sockets
    assert sockets and rest
    for path in [*sockets, *(prefix + path for prefix in (one, other) for path in sockets)]:
        websocket.create_connection(server.url(path), timeout=SECONDS).close()
    for path in rest:
        assert urlopen(server.url(f"{path}/info", "http"), timeout=SECONDS).status == 200


def test_options_that_it_names_exist():
    named = set(re.findall(r"devicehive --([a-z-]+)", PAGE))
    assert named
    for option in named:
        assert f"--{option}" in str(Options())

"""The README keeps what it promises to somebody who copies from it."""

import re
import subprocess
import sys

import pytest

from tests.support.packages import ROOT
from tests.support.servers.process import PASSWORD, ServerProcess

README = (ROOT / "README.md").read_text()


@pytest.fixture
def server(tmp_path):
    server = ServerProcess(tmp_path)
    yield server
    server.kill()


def test_the_first_contact_works_as_shown(server, tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert '"..."' in code
    assert "localhost:8080" in code
    code = code.replace('"..."', f'"{PASSWORD}"').replace("localhost:8080", f"127.0.0.1:{server.port}")
    (tmp_path / "hello.py").write_text(code)
    client = subprocess.Popen([sys.executable, "-u", str(tmp_path / "hello.py")], stdout=subprocess.PIPE, text=True)
    try:
        assert client.stdout.readline() == "temperature {'celsius': 21.5}\n"
    finally:
        client.kill()
        client.communicate()


def test_files_that_it_names_exist():
    for path in re.findall(r"`((?:conf|docs|dhtwisted|tests)/[\w/.-]*)`|\]\((docs/[\w.-]+)\)", README):
        assert (ROOT / "".join(path)).exists(), path


def test_options_that_it_names_exist():
    from dhtwisted.tap import Options

    for option in set(re.findall(r"devicehive --([a-z-]+)", README)):
        assert f"--{option}" in str(Options())

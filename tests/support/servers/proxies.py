"""Proxies in front of a server, with the configurations of docs/proxies.md."""

import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import tomllib
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

from dhtwisted.service.listening import loopback_addresses
from tests.support.certificates import write_certificate
from tests.support.ports import free_port
from tests.support.servers.process import Client, ServerProcess
from tests.support.waiting import wait_until

PAGE = (Path(__file__).parents[3] / "docs" / "proxies.md").read_text(encoding="utf-8")
SECONDS = 30
HOST = "hive.example.com"


def block(language: str, containing: str = "") -> str:
    """The one block of the page in a language, with a text in it."""
    (found,) = [text for text in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) if containing in text]
    return found


def server_settings(containing: str) -> dict[str, str]:
    """The settings that the page has for the server, as environment variables, without the endpoints."""
    section = tomllib.loads(block("toml", containing))["server"]
    return {"DHTWISTED_SERVER_TRUSTED_PROXIES": ",".join(section.get("trusted_proxies", ()))}


def endpoint(containing: str) -> str:
    """The endpoint that the page has for the server, at a port that the system chooses."""
    (description,) = tomllib.loads(block("toml", containing))["server"]["listen"]
    return re.sub(r":\d+:", ":0:", description)


class Proxy:
    """A running proxy. Each client connects from an address of its own; all are addresses of this machine.

    :ivar port: the port on which it listens.
    """

    def __init__(self, directory: Path, program: str, text: str, server: ServerProcess, arguments: Callable[[Path], list[Any]]) -> None:
        """
        :param text: the block of the page. The ports and files of the test replace those in it.
        :param arguments: gives the command line for the path of the file with the text.
        """
        self._program = program
        self.port = free_port()
        certificate = write_certificate(directory / "proxy.pem")
        text = re.sub(r"/\S+?\.(?:pem|key)", str(certificate), text)
        text = re.sub(
            r"127\.0\.0\.1:\d+", f"127.0.0.1:{server.port}", text.replace("443 ssl", f"{self.port} ssl").replace(":443", f":{self.port}")
        )
        if "::1" not in loopback_addresses():
            text = re.sub(r"\n.*\[::\].*", "", text)
        path = directory / "proxy.conf"
        path.write_text(text)
        with (directory / "proxy.log").open("wb") as log:
            command = [find_program(program), *arguments(path)]
            self._process = subprocess.Popen(command, cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._log = directory / "proxy.log"
        wait_until(self._answers, f"{program} does not answer")

    def _answers(self) -> bool:
        assert self._process.poll() is None, self._log.read_text()
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.request("127.0.0.1", "GET", "/api/rest/info")[0] == 200
        return False

    def connect(self, address: str) -> ssl.SSLSocket:
        """Open a connection with TLS from an address."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        plain = socket.create_connection(("127.0.0.1", self.port), SECONDS, source_address=(address, 0))
        return context.wrap_socket(plain, server_hostname=HOST)

    def request(self, address: str, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Message, Any]:
        """Send a request from an address. Returns the status, the headers and the decoded body."""
        connection = http.client.HTTPConnection(HOST, self.port)
        connection.sock = self.connect(address)
        with contextlib.closing(connection):
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            content = answer.read()
        return answer.status, answer.headers, json.loads(content) if content else None

    def websocket(self, address: str, **options: Any) -> Client:
        """Open a WebSocket from an address."""
        return Client(f"wss://{HOST}:{self.port}/api/websocket", socket=self.connect(address), **options)

    def stop(self) -> None:
        """End the proxy."""
        self._process.terminate()
        try:
            self._process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def find_program(name: str) -> str:
    """Find the program of a proxy, also in the folders of root's programs. The test is skipped if there is none."""
    path = shutil.which(name, path=os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/usr/local/sbin"]))
    if path is None:
        pytest.skip(f"{name} is not installed")
    return path


def nginx(directory: Path, server: ServerProcess) -> Proxy:
    """nginx with the configuration of the page, as its main file would include it."""
    places = "".join(f"    {kind}_temp_path {directory}/{kind};\n" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    user = "user root;\n" if os.geteuid() == 0 else ""
    main = f"{user}daemon off;\nworker_processes 1;\npid {directory}/nginx.pid;\nevents {{}}\nhttp {{\n    access_log off;\n{places}"
    return Proxy(directory, "nginx", f"{main}{block('nginx')}}}\n", server, lambda path: ["-e", "stderr", "-c", path])


def haproxy(directory: Path, server: ServerProcess) -> Proxy:
    """HAProxy that speaks HTTP."""
    return Proxy(directory, "haproxy", block("haproxy", "mode http"), server, lambda path: ["-db", "-f", path])


def haproxy_passing(directory: Path, server: ServerProcess) -> Proxy:
    """HAProxy that speaks the PROXY protocol, version 2."""
    return Proxy(directory, "haproxy", block("haproxy", "send-proxy-v2"), server, lambda path: ["-db", "-f", path])


def haproxy_passing_v1(directory: Path, server: ServerProcess) -> Proxy:
    """The same with version 1."""
    text = block("haproxy", "send-proxy-v2").replace("send-proxy-v2", "send-proxy")
    return Proxy(directory, "haproxy", text, server, lambda path: ["-db", "-f", path])

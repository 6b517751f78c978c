"""Measurements of a server: its resources, from the kernel, and how long another client waits for answers."""

import os
import re
import resource
import time
from contextlib import suppress
from pathlib import Path

import requests

from tests.support.servers.process import ServerProcess


def resident(server: ServerProcess) -> float:
    """A server's resident memory in megabytes."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    (kilobytes,) = re.findall(r"^VmRSS:\s+(\d+)", status, re.MULTILINE)
    return int(kilobytes) / 1024


def open_files(server: ServerProcess) -> int:
    """How many files a server has open."""
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def cpu_seconds(server: ServerProcess) -> float:
    """The processor time that a server has used, in seconds."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def slowest_answer(server: ServerProcess, seconds: float, url: str | None = None) -> float:
    """Send requests for so many seconds. Returns the longest time until an answer, in seconds."""
    slowest, end = 0.0, time.monotonic() + seconds
    with requests.Session() as session:
        while time.monotonic() < end:
            begun = time.monotonic()
            assert session.get(url or server.url("/api/rest/info", "http"), timeout=30).status_code == 200
            slowest = max(slowest, time.monotonic() - begun)
    return slowest


def raise_own_file_limit() -> int:
    """Raise this process's limit of open files as far as it may. Returns the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]

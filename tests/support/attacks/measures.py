"""What the kernel says of a process, and what another client notices."""

import os
import re
import resource
import time
from contextlib import suppress
from pathlib import Path

import requests


def resident(server):
    """Megabytes of a server's memory."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(r"^VmRSS:\s+(\d+)", status, re.MULTILINE)[1]) / 1024


def open_files(server):
    """How many files a server has open."""
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def cpu_seconds(server):
    """Processor time that a server has used."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def slowest_answer(server, seconds, url=None):
    """The longest that another client waited for an answer, of those that it asked for in so many seconds."""
    slowest, end = 0.0, time.monotonic() + seconds
    with requests.Session() as session:
        while time.monotonic() < end:
            begun = time.monotonic()
            assert session.get(url or server.url("/api/rest/info", "http"), timeout=30).status_code == 200
            slowest = max(slowest, time.monotonic() - begun)
    return slowest


def raise_own_file_limit():
    """Let this process have as many files open as it may; returns how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]

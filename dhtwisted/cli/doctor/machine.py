"""The machine: clock, memory, disks, open files, and the user who runs the doctor."""

import os
import resource
import shutil
import time
from collections.abc import Iterator, Sequence

from dhtwisted.cli.doctor.findings import Finding, ok, warning, wrong
from dhtwisted.cli.doctor.logs import log_files
from dhtwisted.cli.doctor.providers import data_files
from dhtwisted.config.settings import LimitSettings
from dhtwisted.config.sources import Configuration
from dhtwisted.providers.opening import data_file
from dhtwisted.transports.capacity import OTHER_FILES, is_too_few_files
from dhtwisted.wire.timestamps import format_timestamp

EARLIEST = 1_735_689_600_000
"""2025-01-01 in milliseconds since 1970. A clock with an earlier time was never set."""

TOLERANCE = 60_000
"""Milliseconds by which a stored message may be ahead of the clock."""

SERVER_MEMORY, CONNECTION_MEMORY = 100 * 1024**2, 15 * 1024
"""Bytes that an idle server needs, and an idle connection."""

LITTLE_SPACE, NO_SPACE = 1024**3, 64 * 1024**2
"""Bytes that are free on a disk."""


def check_user(configuration: Configuration) -> list[Finding]:
    """Warn root, who has rights that the server's user lacks."""
    path = data_file("storage", configuration.settings.storage.provider)
    directory = path and os.path.dirname(path)
    if os.geteuid() == 0 and directory and os.path.isdir(directory) and os.stat(directory).st_uid != 0:
        text = f"you are root, who may do everything, but {directory} belongs to user id {os.stat(directory).st_uid}; run this as that user"
        return [warning("user", text)]
    return []


def check_clock(newest: Sequence[int]) -> list[Finding]:
    """Check whether the clock can be right.

    :param newest: the times of the newest stored messages, in milliseconds since 1970 UTC.
    """
    now = int(time.time() * 1000)
    if now < EARLIEST:
        return [wrong("clock", f"it shows {format_timestamp(now)}; set it, tokens and messages go by it")]
    ahead = max(newest, default=0) - now
    if ahead > TOLERANCE:
        text = f"it shows {format_timestamp(now)}, and the newest message is {ahead // 1000} s later: until then all messages get that time"
        return [warning("clock", f"{text}; if the clock is wrong, set it; if it was wrong and is right now, wait")]
    return [ok("clock", f"it shows {format_timestamp(now)} UTC, and no message is later")]


def check_disks(configuration: Configuration) -> list[Finding]:
    """Check the free space of each disk once: where the data are, then where the logs are."""
    settings = configuration.settings
    findings: list[Finding] = []
    seen: set[int] = set()
    data = [("storage", path) for path in data_files(settings)]
    for topic, path in data + [(topic, os.path.abspath(path)) for topic, _, path in log_files(settings)]:
        directory = os.path.dirname(path)
        if os.path.isdir(directory) and os.stat(directory).st_dev not in seen:
            seen.add(os.stat(directory).st_dev)
            findings.append(_check_space(configuration, topic, directory))
    return findings


def _check_space(configuration: Configuration, topic: str, directory: str) -> Finding:
    free = shutil.disk_usage(directory).free
    text = f"{directory}: {free // 1024**2} MiB are free on the disk"
    if free < NO_SPACE:
        loss = "what clients send is refused" if topic == "storage" else "lines are lost"
        return wrong(topic, f"{text}; make room: without it, {loss}")
    if free < LITTLE_SPACE:
        shorter = f", or keep messages for a shorter time ({configuration.place('storage.retention')})" * (topic == "storage")
        return warning(topic, f"{text}; make room{shorter}")
    return ok(topic, text)


def check_files(configuration: Configuration, process: int | None = None) -> list[Finding]:
    """Check how many files the running server may have open, or this process if no server runs.

    :param process: the id of the server's process, if it is known. The system may refuse to show its limits.
    """
    settings = configuration.settings
    connections = settings.limits.connections
    try:
        _, files = resource.prlimit(process or os.getpid(), resource.RLIMIT_NOFILE)
    except OSError:
        process, (_, files) = None, resource.getrlimit(resource.RLIMIT_NOFILE)
    whose = f"the server with process id {process}" if process else "a server that is started here"
    if is_too_few_files(files, connections) and connections == LimitSettings.connections:
        # The number is the default: nobody asked for so many connections. So this is no warning, as in the log of the server.
        most = max(1, files - OTHER_FILES)
        return [
            ok("open files", f"{whose} may have {files} open, so at most {most} clients are let in; LimitNOFILE= or ulimit -Hn raises it")
        ]
    if is_too_few_files(files, connections):
        text = f"{whose} may have {files} open, too few for {connections} connections"
        return [warning("open files", f"{text}; raise LimitNOFILE= or ulimit -Hn, or lower {configuration.place('limits.connections')}")]
    return [ok("open files", f"{whose} may have {'any number' if files == resource.RLIM_INFINITY else files} open")]


def check_memory(configuration: Configuration) -> list[Finding]:
    """Compare the memory with what idle connections need."""
    settings = configuration.settings
    total = min(_physical(), *_container_limits())
    needed = SERVER_MEMORY + settings.limits.connections * CONNECTION_MEMORY
    text = f"{total // 1024**2} MiB, and {settings.limits.connections} idle connections take about {needed // 1024**2}"
    if needed > total:
        return [warning("memory", f"{text}; lower {configuration.place('limits.connections')}")]
    return [ok("memory", text)]


def _physical() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _container_limits() -> Iterator[int]:
    """The memory limits of control groups in bytes; at last a large number, for no limit."""
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            with open(path, encoding="ascii") as file:
                text = file.read().strip()
        except OSError:
            continue
        if text.isdecimal():
            yield int(text)
    yield 2**63

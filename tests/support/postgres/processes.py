"""A PostgreSQL server as processes: the first, which starts one for each connection, and its children."""

import ctypes
from contextlib import suppress
from pathlib import Path

import psutil

from tests.support.waiting import wait_until

_IPC_RMID = 0


def suspend(server: psutil.Process) -> list[psutil.Process]:
    """Stop a server without closing its connections.

    :param server: its first process.
    :returns: its children.
    """
    server.suspend()
    # The signal reaches a busy process later. A child that it starts until then would go on.
    wait_until(lambda: server.status() in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE), "the server does not stop")
    children = server.children(recursive=True)
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.suspend()
    return children


def resume(server: psutil.Process) -> None:
    """Let a suspended server go on."""
    for process in (*server.children(recursive=True), server):
        with suppress(psutil.NoSuchProcess):
            process.resume()


def kill(server: psutil.Process) -> None:
    """Kill all processes of a server with ``kill -9``. Returns when they have ended."""
    try:
        processes = [*suspend(server), server]
    except psutil.NoSuchProcess:
        return
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    wait_until(lambda: not any(map(lives, processes)), "the processes of the server do not end")


def remove_shared_memory(data: str | Path) -> None:
    """Remove the shared memory segment of a few bytes that a killed server leaves in the system.

    :param data: the directory of its data; a file in it names the segment.
    """
    try:
        lines = Path(data, "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return
    if len(lines) > 6:
        _key, segment = lines[6].split()
        ctypes.CDLL(None).shmctl(int(segment), _IPC_RMID, None)


def lives(process: psutil.Process) -> bool:
    """Whether a process runs, and is not a zombie."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False

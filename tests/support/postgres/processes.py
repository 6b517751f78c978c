"""A PostgreSQL server as processes: the first, which starts one for each connection, and its children."""

import ctypes
from contextlib import suppress
from pathlib import Path

import psutil

from tests.support.waiting import wait_until

_IPC_RMID = 0


def suspend(server):
    """Let a server do nothing any more, its connections open.

    :param server: the first process, a ``psutil.Process``.
    :returns: its children.
    """
    server.suspend()
    # The signal reaches a busy process later, and a child started until then would run on.
    wait_until(lambda: server.status() in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE), "the server does not stop")
    children = server.children(recursive=True)
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.suspend()
    return children


def resume(server):
    """Let it go on."""
    for process in (*server.children(recursive=True), server):
        with suppress(psutil.NoSuchProcess):
            process.resume()


def kill(server):
    """kill -9 of all its processes; returns when they are gone."""
    try:
        processes = [*suspend(server), server]
    except psutil.NoSuchProcess:
        return
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    wait_until(lambda: not any(map(lives, processes)), "the processes of the server do not end")


def remove_shared_memory(data):
    """Remove what a killed server leaves in the system: a shared memory segment of a few bytes.

    :param data: the directory of its data, in which it has noted the segment.
    """
    try:
        lines = Path(data, "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return
    if len(lines) > 6:
        _key, segment = lines[6].split()
        ctypes.CDLL(None).shmctl(int(segment), _IPC_RMID, None)


def lives(process):
    """Whether a process is there, and not only its exit status."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False

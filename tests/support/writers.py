"""Finds the processes that write for file storages, and makes some that fail."""

import sys
from pathlib import Path

import psutil

from dhtwisted.providers.sqlite import process as writer_process


def writer_of(path: str | Path, server: int | None = None) -> psutil.Process:
    """Find the process that writes a file for a server.

    :param server: its process id; ``None`` for this process.
    """
    (writer,) = [process for process in psutil.Process(server).children() if _command_of(process)[-1:] == [str(path)]]
    return writer


def _command_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def has_ended(process: psutil.Process) -> bool:
    """Whether a process has ended. It may be a zombie: when its parent is gone, nobody may ask for its exit status."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def program(change: str) -> tuple[str, ...]:
    """The command of the writer's program, changed by some code before it runs. The code knows the module as ``program``."""
    head, main = writer_process.COMMAND[-1].split("from dhtwisted.providers.sqlite.program import main; ")
    return (*writer_process.COMMAND[:-1], f"{head}\nfrom dhtwisted.providers.sqlite import program\n{change}\nprogram.{main}")


EXITS = (sys.executable, "-c", "raise SystemExit(3)")
"""A command that ends at once, and writes nothing."""

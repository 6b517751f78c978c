"""Finds the processes that write for file storages, and makes them suffer."""

import sys

import psutil

from dhtwisted.providers.sqlite import process as writer_process


def writer_of(path, server=None):
    """The process that writes a file for a server.

    :param server: its process id; ``None`` for this process.
    """
    (writer,) = [process for process in psutil.Process(server).children() if _command_of(process)[-1:] == [str(path)]]
    return writer


def _command_of(process):
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def has_ended(process):
    """Whether a process has: it may be a zombie when its parent is gone, and nobody else asks for it."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def program(change):
    """The command of a program that is changed by some code before it runs; the code knows the module as ``program``."""
    head, main = writer_process.COMMAND[-1].split("from dhtwisted.providers.sqlite.program import main; ")
    return (*writer_process.COMMAND[:-1], f"{head}\nfrom dhtwisted.providers.sqlite import program\n{change}\nprogram.{main}")


EXITS = (sys.executable, "-c", "raise SystemExit(3)")
"""A command that starts nothing that writes."""

"""What all PostgreSQL servers of this process have in common: the programs, a directory, an empty cluster, and their end."""

import atexit
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from functools import cache
from itertools import count
from pathlib import Path
from threading import RLock

import psutil

from tests.support.postgres.account import Account
from tests.support.postgres.binaries import NoPostgres, copy_binaries, find_binaries

CHECKOUT = Path(__file__).parents[3]
LONGEST = 60
"""Characters in the path of the directory: a Unix socket lies in it, and the path of that may have 107."""

ROOM = 2**30
"""Bytes that must be free in memory for the directory to be there."""

_ENVIRONMENT = {"LC_ALL": "C.UTF-8", "PATH": os.defpath}
_lock = RLock()


class Workplace:
    """The directory of this process for its servers. It goes with the process, as do the servers, also at kill -9 of the process.

    :ivar password: of the database user postgres, over TCP: else every user of the machine would be that user.
    """

    def __init__(self):
        self.account = Account()
        binaries = find_binaries()
        reached = self.account.reaches(binaries)
        # Programs often may not run from memory.
        self.directory = self._make_directory(_in_memory() if reached else [])
        self.password = secrets.token_urlsafe(12)
        # A group of its own: Ctrl-C at the terminal is for the tests.
        command = [sys.executable, "-m", "tests.support.postgres.keeper", str(self.directory)]
        self._keeper = subprocess.Popen(command, cwd=CHECKOUT, stdin=subprocess.PIPE, text=True, start_new_session=True)
        atexit.register(self._close)
        self._binaries = binaries if reached else copy_binaries(binaries, self.directory / "programs")
        self._numbers = count(1)
        self._template = None

    def _make_directory(self, preferred):
        for parent in (*preferred, tempfile.gettempdir(), "/tmp", "/var/tmp"):
            if Path(parent).is_dir() and len(parent) < LONGEST - 20 and self.account.reaches(parent):
                directory = Path(tempfile.mkdtemp(prefix="dhtwisted-", dir=parent))
                self.account.own(directory)
                return directory
        raise NoPostgres("no directory for PostgreSQL: let TMPDIR name one with a short path, which other accounts may pass through")

    def _close(self):
        self._keeper.stdin.close()
        self._keeper.wait()

    def new_directory(self):
        """Make a directory for a server."""
        directory = self.directory / str(next(self._numbers))
        directory.mkdir(mode=0o700)
        self.account.own(directory)
        return directory

    def spawn(self, program, *arguments, **options):
        """Start a program as the account; it ends with this process at the latest.

        :param program: one of PostgreSQL's, or of the system.
        :returns: a ``subprocess.Popen``.
        """
        path = self._binaries / program
        command = [str(path) if path.exists() else program, *map(str, arguments)]
        options = {"cwd": self.directory, "env": _ENVIRONMENT, "stdin": subprocess.DEVNULL, "start_new_session": True} | options
        process = subprocess.Popen(command, **options, **self.account.options)
        with _lock:
            self._keeper.stdin.write(f"{process.pid}\n")
            self._keeper.stdin.flush()
        return process

    def run(self, program, *arguments):
        """Run a program that must succeed."""
        process = self.spawn(program, *arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        output, _ = process.communicate()
        if process.returncode:
            raise NoPostgres(f"{program} failed with status {process.returncode}: {output}")

    def fill(self, data):
        """Put an empty cluster into a directory. It copies one that is made once, in 0.7 s."""
        with _lock:
            if self._template is None:
                self._template = self._make_template()
        self.run("cp", "-a", f"{self._template}/.", data)

    def _make_template(self):
        directory = self.new_directory()
        password_file = directory / "password"
        password_file.write_text(self.password)
        self.account.own(password_file)
        access = ["--username=postgres", "--auth-local=trust", "--auth-host=scram-sha-256", f"--pwfile={password_file}"]
        # Small segments of the log, for there is little to copy then.
        self.run("initdb", *access, "--no-sync", "--wal-segsize=1", "--encoding=UTF8", "--locale=C.UTF-8", directory / "template")
        return directory / "template"


def _in_memory():
    """A file system in memory: the thousand files of a server are made in 0.05 s there, in up to 0.8 s on a disk."""
    memory = Path("/dev/shm")
    return [str(memory)] if memory.is_dir() and shutil.disk_usage(memory).free > ROOM < psutil.virtual_memory().available else []


@cache
def _make_workplace():
    return Workplace()


def workplace():
    """The workplace of this process, made when it is first needed."""
    with _lock:
        return _make_workplace()

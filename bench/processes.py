"""Processes of the benchmark: pinned to cores, and ended with it, however it ends."""

import ctypes
import os
import resource
import signal
import subprocess
import time
from pathlib import Path

from bench.figures import Failed

PATIENCE = 60
"""Seconds after which a server that does not start, or does not stop, is given up."""

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def prepare(cores):
    """Make a function that a new process runs before its program.

    :param cores: numbers of those that it may use.
    """

    def run_before():
        os.sched_setaffinity(0, cores)
        # Also at kill -9 of this process, which no cleanup of ours outlives.
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        raise_file_limit()

    return run_before


def raise_file_limit():
    """Let this process open as many files as the system permits; returns how many."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


def family(*pids):
    """The ids of processes and of their children, which work for them."""
    found = []
    for pid in pids:
        children = Path(f"/proc/{pid}/task/{pid}/children")
        found += [pid, *map(int, children.read_text().split() if children.exists() else ())]
    return found


def cpu_seconds(*pids):
    """Processor time that the threads of processes and of their children have used so far."""
    return sum(_nanoseconds(path) for pid in family(*pids) for path in Path(f"/proc/{pid}/task").glob("*/schedstat")) / 1e9


def _nanoseconds(path):
    try:
        return int(path.read_text().split()[0])
    except OSError:
        # The thread has ended meanwhile.
        return 0


class Process:
    """A program that runs in the background until the end of a ``with`` block.

    :param command: the program and its arguments.
    :param log_path: a file for what it says.
    :param cores: those that it may use.
    :ivar started_at: when it was started, as of ``time.monotonic``.
    """

    def __init__(self, command, log_path, cores, **options):
        self.log_path = Path(log_path)
        self.started_at = time.monotonic()
        with self.log_path.open("wb") as log:
            # A session of its own: Ctrl-C is for the benchmark, which ends this in order.
            options = {"stdin": subprocess.DEVNULL, "stdout": log, "stderr": log, "start_new_session": True} | options
            self._process = subprocess.Popen([*map(str, command)], preexec_fn=prepare(cores), **options)

    @property
    def pid(self):
        """Its process id."""
        return self._process.pid

    @property
    def pids(self):
        """Its process id and those of its children, which work for it."""
        return family(self.pid)

    @property
    def running(self):
        """Whether it has not ended."""
        return self._process.poll() is None

    @property
    def log(self):
        """What it has said."""
        return self.log_path.read_text(errors="replace")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def kill(self):
        """End it at once. It may be suspended."""
        self._process.kill()
        self._process.wait()

    def stop(self):
        """Let it end in order; kill it when it does not.

        :raises Failed: it had failed before, or did not end well.
        """
        self._process.terminate()
        try:
            status = self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failed(f"{self._name} does not stop") from None
        if status not in (0, -signal.SIGTERM):
            raise Failed(f"{self._name} ended with status {status}: {self._last_words()}")

    def suspend(self):
        """Let it use no processor until :meth:`resume`."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self):
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def wait_for(self, ready):
        """Wait until it is ready.

        :param ready: called again and again until it returns something true, which is returned.
        :raises Failed: the process ended instead, or is not ready in :data:`PATIENCE` seconds.
        """
        end = time.monotonic() + PATIENCE
        try:
            while not (answer := ready()):
                if not self.running or time.monotonic() > end:
                    raise Failed(f"{self._name} does not start: {self._last_words()}")
                time.sleep(0.002)
        except BaseException:
            # Also at Ctrl-C: nobody has entered its block yet.
            self.kill()
            raise
        return answer

    def cpu_seconds(self):
        """Processor time that its threads and its children have used so far."""
        return cpu_seconds(self.pid)

    def memory(self):
        """Bytes of memory that it has now."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    @property
    def _name(self):
        return " ".join(map(str, self._process.args[:3]))

    def _last_words(self):
        return " ".join(self.log.split())[-300:] or "it wrote nothing"

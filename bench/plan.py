"""Tasks, and the round robin of their runs."""

import copy
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from bench.figures import Failed, NoFigure
from bench.machine import IN_MEMORY, THIS, file_system
from bench.nats import Nats
from bench.servers import DeviceHive, Echo, Mosquitto, Web


@dataclass(frozen=True)
class Sizes:
    """How much is done in a run.

    :ivar warm: seconds of load before the measured ones, and ``secs`` the measured.
    :ivar connections: how many idle ones, or other devices.
    :ivar stored: how many messages a full storage has.
    :ivar hold: seconds for which idle connections are watched. A server sends each a ping in 30.
    """

    rounds: int
    warm: float
    secs: float
    connections: int
    stored: int
    hold: float


FULL = Sizes(rounds=3, warm=0.5, secs=2.0, connections=10_000, stored=1_000_000, hold=31)
QUICK = Sizes(rounds=2, warm=0.3, secs=1.0, connections=2_000, stored=100_000, hold=3)


@dataclass(frozen=True)
class Task:
    """Something that is run once a round, on one side.

    :ivar run: called with the :class:`Bench`; returns what it measured, numbers by name; raises :class:`~bench.figures.NoFigure`.
    :ivar seldom: run in every second round only: it takes long, or varies little.
    :ivar ours: whether it runs this server, when it is the first of a row; another checkout can take its place.
    """

    name: str
    run: Callable
    seldom: bool = False
    ours: bool = True


class Bench:
    """What tasks work with.

    :param directory: a new one on a disk, for all that servers write.
    :param cores: a :class:`~bench.machine.Cores`.
    :param generator: a :class:`~bench.generator.Generator`.
    :param sizes: a :class:`Sizes`.
    :param say: called with a line about what is done now.
    :ivar kept: an ``ExitStack`` for what one task leaves for another; closed at the end.
    :ivar found: what tasks have left, by name.
    :ivar versions: of servers that had to be started to know them.
    :ivar kept_directories: those that hold it.
    :ivar checkout: the :class:`~bench.machine.Checkout` of this server.
    """

    def __init__(self, directory, cores, generator, sizes, say=lambda text: None):
        self.directory = Path(directory)
        self.cores = cores
        self.generator = generator
        self.sizes = sizes
        self.say = say
        self.kept = ExitStack()
        self.found = {}
        self.versions = {}
        self.kept_directories = set()
        self.checkout = THIS
        self._numbers = count(1)

    def of(self, checkout):
        """Make another of the same rounds, whose tasks run this server from another checkout and share nothing that tasks left."""
        other = copy.copy(self)
        other.checkout, other.found = checkout, {}
        return other

    def new_directory(self):
        """Make a directory that no other run has."""
        directory = self.directory / f"run{next(self._numbers)}"
        directory.mkdir()
        # Another user may run PostgreSQL in there.
        directory.chmod(0o711)
        return directory

    def keep_directory(self):
        """Make a directory that stays until the end, for a task that leaves something for others."""
        directory = self.new_directory()
        self.kept_directories.add(directory)
        return directory

    def hive(self, storage="memory:", directory=None, cores=None, tls=False, environment=None, mqtt=False):
        """Start this server.

        :param storage: the provider; ``file:`` without a path is a new file.
        :param tls: whether it also listens with TLS.
        :param environment: further settings, as variables of its environment.
        :param mqtt: whether it also speaks MQTT.
        """
        storage = "file:devicehive.sqlite" if storage == "file:" else storage
        return DeviceHive(directory or self.new_directory(), storage, cores or self.cores.server, self.checkout, tls, environment, mqtt)

    def echo(self, tls=False):
        """Start Autobahn's echo."""
        return Echo(self.new_directory(), self.cores.server, tls)

    def mosquitto(self, tls=False):
        """Start Mosquitto."""
        return Mosquitto(self.new_directory(), self.cores.server, tls)

    def nats(self):
        """Start NATS with JetStream; like PostgreSQL it may use all cores."""
        return Nats(self.new_directory(), self.cores.everything)

    def web(self, listed):
        """Start bare twisted.web.

        :param listed: the bytes that a GET gives.
        """
        return Web(self.new_directory(), self.cores.server, listed)

    def load(self, server, **options):
        """Let the generator do a run of this benchmark's length; returns what it printed."""
        return self.generator.run(server, **{"warm": self.sizes.warm, "secs": self.sizes.secs} | options)


def make_directory(parent=None):
    """Make the directory of a benchmark.

    :param parent: where; ``None``: ``TMPDIR``, or ``/var/tmp`` where that is in memory.
    """
    if parent is None and file_system(tempfile.gettempdir()) in IN_MEMORY and Path("/var/tmp").is_dir():
        parent = "/var/tmp"
    directory = Path(tempfile.mkdtemp(prefix="dhtwisted-bench-", dir=parent))
    directory.chmod(0o711)
    return directory


def run_rounds(tasks, rounds, bench, results):
    """Run every task once a round, in turns, so that what disturbs one side disturbs the others as well.

    :param tasks: in the order of the first round; every second goes the other way.
    :param results: a :class:`~bench.figures.Results`.
    """
    for number in range(rounds):
        for task in reversed(tasks) if number % 2 else tasks:
            if results.is_missing(task.name) or (task.seldom and number % 2):
                continue
            bench.say(f"round {number + 1} of {rounds}: {task.name}")
            results.add(task.name, number, run_one(task, bench))


def run_one(task, bench):
    """Run a task; returns what it measured, or why it did not."""
    before = set(bench.directory.iterdir())
    try:
        return task.run(bench)
    except NoFigure as problem:
        return problem
    except ZeroDivisionError:
        # A rate by which a cost is divided.
        return Failed("nothing was acknowledged while it was measured")
    except OSError as error:
        # A server that went away in the middle.
        return Failed(f"{type(error).__name__}: {error}")
    finally:
        for directory in set(bench.directory.iterdir()) - before - bench.kept_directories:
            shutil.rmtree(directory)

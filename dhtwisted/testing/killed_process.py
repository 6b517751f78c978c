"""Starts a process that writes into a storage and is killed, and reads what it acknowledged."""

from __future__ import annotations

import inspect
import os
import pickle
import sys
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from operator import attrgetter
from pathlib import Path
from types import ModuleType
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from dhtwisted.testing.contract import BrokenContract

PATIENCE = 60
"""Seconds that a process may take."""


def describe_contract(contract: Any) -> tuple[bytes, list[str]]:
    """Serialize an instance of a contract class for another process: the place of the class, and the attributes that fixtures set.

    :returns: bytes, and the names of attributes that cannot be pickled.
    :raises BrokenContract: no other process can find the class.
    """
    kind, attributes, left_out = type(contract), {}, []
    if "<locals>" in kind.__qualname__:
        raise BrokenContract(
            f"{kind.__name__} is made inside a function, where the process to be killed cannot find it: put it into its module"
        )
    for name, value in vars(contract).items():
        try:
            attributes[name] = pickle.dumps(value)
        except Exception:
            # An attribute may raise anything. It is left out, and the failure of the process names it.
            left_out.append(name)
    return pickle.dumps((kind.__module__, inspect.getfile(kind), kind.__qualname__, attributes)), left_out


def read_contract(described: bytes) -> Any:
    """Make the instance again from what :func:`describe_contract` wrote."""
    module, path, qualified_name, attributes = pickle.loads(described)
    contract: Any = attrgetter(qualified_name)(_import(module, path))()
    for name, value in attributes.items():
        setattr(contract, name, pickle.loads(value))
    return contract


def _import(name: str, path: str) -> ModuleType:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
            raise
    # With --import-mode=importlib, only pytest finds test modules by name.
    spec = spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # The path is that of a module in Python.
    sys.modules[name] = module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class KilledProcess(ProcessProtocol):
    """Reads the acknowledgements of a process, and kills it when there are enough.

    :param enough: lines after which the process is killed; ``None`` if it kills itself.
    :ivar ended: a Deferred; fires when the process is gone.
    :ivar transport: of the process.
    :ivar is_late: whether it was killed because it took too long.
    """

    transport: Any

    def __init__(self, enough: int | None) -> None:
        self.ended: Deferred[None] = Deferred()
        self.output = b""
        self.errors = b""
        self.is_late = False
        self._enough = enough

    def outReceived(self, data: bytes) -> None:
        self.output += data
        if self._enough is not None and self.output.count(b"\n") >= self._enough and self.transport.pid:
            self.transport.signalProcess("KILL")

    def errReceived(self, data: bytes) -> None:
        self.errors += data

    def processEnded(self, reason: Failure) -> None:
        self.ended.callback(None)

    def give_up(self) -> None:
        """Kill the process: it takes too long."""
        self.is_late = True
        self.transport.signalProcess("KILL")

    def acknowledged(self) -> list[str]:
        """The whole lines that the process wrote."""
        return [line.decode() for line in self.output.split(b"\n")[:-1]]


async def run_until_killed(contract: Any, directory: Path, method: str | None = None, enough: int | None = None) -> tuple[list[str], str]:
    """Start a process that writes into the storage of a contract class, and wait for its end.

    :param contract: an instance of a subclass of ``StorageContract``.
    :param method: the method that is called last; ``None`` to write until ``enough`` is acknowledged.
    :returns: the acknowledged lines, and the error output of the process.
    """
    from twisted.internet import reactor

    described, left_out = describe_contract(contract)
    protocol = KilledProcess(enough)
    arguments = [sys.executable, "-m", "dhtwisted.testing.crash", str(directory), *filter(None, [method])]
    process = reactor.spawnProcess(protocol, sys.executable, arguments, {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    process.write(described)
    process.closeStdin()
    patience = reactor.callLater(PATIENCE, protocol.give_up)
    await protocol.ended
    if patience.active():
        patience.cancel()
    return protocol.acknowledged(), _last_words(protocol, left_out)


def _last_words(protocol: KilledProcess, left_out: list[str]) -> str:
    words = [protocol.errors.decode(errors="replace").strip()]
    if protocol.is_late:
        words.append(f"it was not done within {PATIENCE} s")
    if left_out:
        words.append(
            f"the process gets what fixtures set on self if it can be pickled; these could not be pickled: {', '.join(sorted(left_out))}"
        )
    return "; ".join(filter(None, words))

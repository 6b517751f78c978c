"""Providers whose examination breaks the contract, each in one point: ``test_examination_refusals`` has the suite refuse them.

The classes are not called ``Test...``, so pytest collects them only when a command line names them.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from dhtwisted.interfaces import CheckContext, ProviderContext
from dhtwisted.kit.provider import CheckableProvider, FileProvider
from dhtwisted.model import Examination, Finding
from dhtwisted.testing.storage import ExaminableStorageContract
from tests.support.contracts.broken_storages import PickledStorage

GOOD = Examination(findings=[Finding("ok", "all is well")])


def declare(inspect: Callable[[str, CheckContext], Any], kind: type[FileProvider] = FileProvider) -> FileProvider:
    return kind("storage", "mine", "of a test", "PATH", build, check, inspect)


def build(argument: str, context: ProviderContext) -> PickledStorage:
    return PickledStorage(Path(argument), context.reactor, "")


def check(argument: str, context: CheckContext) -> None:
    return None


def make_a_file(argument: str, context: CheckContext) -> Examination:
    Path(argument).touch()
    return GOOD


def fail(argument: str, context: CheckContext) -> Examination:
    raise PermissionError(argument)


class Sound(ExaminableStorageContract):
    provider: Any = declare(lambda argument, context: GOOD)

    def make_argument(self, directory: Path) -> str:
        return str(directory / "data")


class MakesAFile(Sound):
    provider = declare(make_a_file)


class Raises(Sound):
    provider = declare(fail)


class ReturnsText(Sound):
    provider = declare(lambda argument, context: "all is well")


class UnknownLevel(Sound):
    provider = declare(lambda argument, context: Examination(findings=[Finding("fatal", "it is gone")]))  # type: ignore[arg-type]  # the mistake


class ManyLines(Sound):
    provider = declare(lambda argument, context: Examination(findings=[Finding("ok", "one\ntwo")]))


class AlwaysServed(Sound):
    provider = declare(lambda argument, context: Examination(is_served=True))


class NeverServed(Sound):
    provider = declare(lambda argument, context: Examination(is_served=False))


class InSecret(Sound):
    provider = CheckableProvider("storage", "mine", "of a test", "PATH", build, check)


class Relative(Sound):
    class kind(FileProvider):
        def data_file(self, argument: str) -> str:
            return os.path.basename(argument)

    provider = declare(lambda argument, context: GOOD, kind)

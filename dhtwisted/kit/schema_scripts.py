"""The numbered scripts of a schema: ``0001.sql`` and so on; the number of the last one that was run is the version of the schema.

The data have a checksum of each script that made them. A script that is edited after it was run somewhere would leave data there that lack
what it makes now: a start refuses them. Data of before there were checksums are looked at once: their tables and columns must be there.
"""

import hashlib
import re
from importlib.resources import files

from twisted.logger import Logger

from dhtwisted.errors import ConfigurationError

_log = Logger()

_COMMENT = re.compile(r"--.*$", re.MULTILINE)
_MADE_TABLE = re.compile(r"^CREATE TABLE (\w+) \((.*?)^\)", re.MULTILINE | re.DOTALL)
_ITS_COLUMN = re.compile(r"^    ([a-z]\w*) ", re.MULTILINE)
_CHANGED_TABLE = re.compile(r"^ALTER TABLE (\w+)\s(.*?);", re.MULTILINE | re.DOTALL)
_ADDED_COLUMN = re.compile(r"\bADD COLUMN (?:IF NOT EXISTS )?(\w+)")

_CURE = "go on with the program that made it, or move the data: devicehive export with that one, devicehive import with this one"


def schema_directory(package):
    """Where the scripts of a provider lie.

    :param package: its name, such as ``dhtwisted.providers.sqlite``; the scripts are in its folder ``schema``.
    """
    return files(package) / "schema"


def missing_scripts(directory, version, place):
    """The scripts that data of some version lacks.

    :param directory: holds the scripts.
    :param place: names the data, for the error.
    :returns: a list of ``(number, text)``.
    :raises ConfigurationError: the data has more than there are.
    """
    scripts = _scripts(directory)
    if not isinstance(version, int):
        raise ConfigurationError(f"{place} has a schema whose version is no number: it is damaged; restore it from a backup")
    if version > len(scripts):
        raise ConfigurationError(
            f"{place} has schema {version}, newer than schema {len(scripts)} of this program: install the newer release"
        )
    return [(number, script.read_text("utf-8")) for number, script in enumerate(scripts[version:], version + 1)]


def script_count(directory):
    """How many scripts there are: the newest version that this program knows."""
    return len(_scripts(directory))


def tell_upgrade(place, applied):
    """Tell that data are for newer programs alone from now on. As a warning: so it is also seen by who has run a command of the shell.

    :param place: names the data.
    :param applied: the numbers of the scripts that were applied; from the first on they made new data.
    """
    if applied and applied[0] > 1:
        _log.warn(
            "{place}: its schema was brought from {old} to {new}; an older program refuses it from now on",
            place=place,
            old=applied[0] - 1,
            new=applied[-1],
        )


def checksums(directory):
    """The checksum of each script.

    :returns: number -> text.
    """
    return {number: _checksum(script) for number, script in enumerate(_scripts(directory), 1)}


def check_scripts(directory, recorded, place):
    """Make sure that data were made by these scripts.

    :param recorded: number -> the checksum that the data have; ``None`` for none.
    :param place: names the data, for the error.
    :raises ConfigurationError: they were made by others.
    """
    known = checksums(directory)
    for number, checksum in sorted(recorded.items()):
        if checksum is not None and number in known and checksum != known[number]:
            raise ConfigurationError(
                f"{place} was made by another script {number:04}.sql of its schema than this program has, which was edited or is of no "
                f"release; {_CURE}"
            )


def check_structure(directory, version, found, place):
    """Make sure that the tables and columns are there which scripts make.

    :param version: the last script that was run.
    :param found: name of a table -> the names of its columns.
    :param place: names the data, for the error.
    :raises ConfigurationError: something is missing.
    """
    for number, script in enumerate(_scripts(directory)[:version], 1):
        for table, column in sorted(_structure(script.read_text("utf-8"))):
            if column not in found.get(table, ()):
                what = f"the column {column} of the table {table}" if table in found else f"the table {table}"
                raise ConfigurationError(
                    f"{place} lacks {what}, which script {number:04}.sql of its schema makes: that was edited or is of no release; {_CURE}"
                )


def _structure(script):
    """Pairs of a table and a column that a script makes. What is made by other means than plain statements is not among them."""
    text = _COMMENT.sub("", script)
    made = {(table, column) for table, body in _MADE_TABLE.findall(text) for column in _ITS_COLUMN.findall(body)}
    return made | {(table, column) for table, body in _CHANGED_TABLE.findall(text) for column in _ADDED_COLUMN.findall(body)}


def _checksum(script):
    return hashlib.sha256(script.read_bytes()).hexdigest()


def _scripts(directory):
    return sorted((script for script in directory.iterdir() if script.name.endswith(".sql")), key=lambda script: script.name)

"""The numbered scripts of a schema: ``0001.sql`` and so on; the number of the last one that was run is the version of the schema."""

from importlib.resources import files

from dhtwisted.errors import ConfigurationError


def schema_directory(backend):
    """Where the scripts of a backend lie."""
    return files("dhtwisted.storage") / "schema" / backend


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


def _scripts(directory):
    return sorted((script for script in directory.iterdir() if script.name.endswith(".sql")), key=lambda script: script.name)

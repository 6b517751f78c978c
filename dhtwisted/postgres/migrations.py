"""Bringing a database's schema up to date: all or nothing, one node at a time."""

import psycopg2
from twisted.logger import Logger

from dhtwisted.errors import ConfigurationError, StorageUnavailable
from dhtwisted.postgres.rights import MISSING_RIGHTS, missing_rights
from dhtwisted.storage.schema_files import missing_scripts, schema_directory

_SCHEMA = schema_directory("postgres")
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('dhtwisted schema in ' || current_schema(), 0))"
_NO_PRIVILEGE, _NO_SCHEMA = "42501", "3F000"
_OTHERS_TABLES = ("42P07", "42703")
"""A table is there already, or a column is missing in it."""

log = Logger()


async def migrate(run, place, directory=_SCHEMA):
    """Apply the schema files that the database does not have yet. Other nodes that want the same wait meanwhile, and find it done.

    :param run: ``async run(sql, values=None)`` on one connection, which nobody else uses.
    :param place: the database, in words.
    :param directory: of the numbered scripts.
    :raises ConfigurationError: the database has more than there are, or does not let us make tables, or use them.
    :raises StorageUnavailable: it went away; nothing was changed.
    """
    try:
        await run("BEGIN")
        try:
            applied = await apply_missing(run, place, directory)
            await run("COMMIT")
        except BaseException:
            await _roll_back(run)
            raise
    except psycopg2.Error as error:
        mendable = explained(error, place)
        if mendable is None:
            raise
        raise mendable from error
    for number in applied:
        log.info("{place}: schema {number} applied", place=place, number=number)
    if directory is _SCHEMA and (rows := await run(MISSING_RIGHTS)):
        raise ConfigurationError(f"{place}: {missing_rights(rows)}")


async def apply_missing(run, place, directory=_SCHEMA):
    """Apply what is missing in the transaction that is open.

    :returns: the numbers of the scripts.
    """
    await run(_LOCK)
    version = 0
    if (await run("SELECT to_regclass('schema_version') IS NOT NULL"))[0][0]:
        ((version,),) = await run("SELECT coalesce(max(version), 0) FROM schema_version")
    scripts = missing_scripts(directory, version, place)
    if scripts and not version:
        await run("CREATE TABLE schema_version (version integer PRIMARY KEY)")
    for number, script in scripts:
        await run(script)
        await run("INSERT INTO schema_version VALUES (%s)", (number,))
    return [number for number, _ in scripts]


def explained(error, place):
    """The ``ConfigurationError`` for what somebody must mend who may; ``None`` for any other.

    :param error: a ``psycopg2.Error``.
    """
    reason = (str(error).splitlines() or [""])[0]
    if error.pgcode in (_NO_PRIVILEGE, _NO_SCHEMA):
        cure = "let the role own the database and its tables, or GRANT CREATE ON SCHEMA public TO it (or on the first of its search_path)"
        return ConfigurationError(f"{place}: no tables can be made or changed: {reason}; {cure}")
    if error.pgcode in _OTHERS_TABLES:
        cure = "give this server a database of its own, or a schema by search_path"
        return ConfigurationError(f"{place}: it has tables of another program: {reason}; {cure}")
    return None


async def _roll_back(run):
    try:
        await run("ROLLBACK")
    except StorageUnavailable:
        return  # the connection is gone, and the transaction with it

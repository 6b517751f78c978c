"""Bringing a database's schema up to date: all or nothing, one node at a time."""

import psycopg2
from twisted.logger import Logger

from dhtwisted.errors import ConfigurationError, StorageUnavailable
from dhtwisted.storage.schema_files import missing_scripts, schema_directory

_SCHEMA = schema_directory("postgres")
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('dhtwisted schema in ' || current_schema(), 0))"
_NO_PRIVILEGE, _NO_SCHEMA = "42501", "3F000"

log = Logger()


async def migrate(run, place, directory=_SCHEMA):
    """Apply the schema files that the database does not have yet. Other nodes that want the same wait meanwhile, and find it done.

    :param run: ``async run(sql, values=None)`` on one connection, which nobody else uses.
    :param place: the database, in words.
    :param directory: of the numbered scripts.
    :raises ConfigurationError: the database has more than there are, or does not let us make tables.
    :raises StorageUnavailable: it went away; nothing was changed.
    """
    try:
        await run("BEGIN")
        try:
            await run(_LOCK)
            await _apply_missing(run, place, directory)
            await run("COMMIT")
        except BaseException:
            await _roll_back(run)
            raise
    except psycopg2.Error as error:
        if error.pgcode in (_NO_PRIVILEGE, _NO_SCHEMA):
            (reason,) = str(error).splitlines()[:1]
            raise ConfigurationError(
                f"{place}: no tables can be made: {reason}; let the role own the database, or GRANT CREATE ON SCHEMA public TO it"
            ) from error
        raise


async def _apply_missing(run, place, directory):
    version = 0
    if (await run("SELECT to_regclass('schema_version') IS NOT NULL"))[0][0]:
        ((version,),) = await run("SELECT coalesce(max(version), 0) FROM schema_version")
    scripts = missing_scripts(directory, version, place)
    if scripts and not version:
        await run("CREATE TABLE schema_version (version integer PRIMARY KEY)")
    for number, script in scripts:
        await run(script)
        await run("INSERT INTO schema_version VALUES (%s)", (number,))
        log.info("{place}: schema {number} applied", place=place, number=number)


async def _roll_back(run):
    try:
        await run("ROLLBACK")
    except StorageUnavailable:
        return  # the connection is gone, and the transaction with it

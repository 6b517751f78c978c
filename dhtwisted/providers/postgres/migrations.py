"""Upgrades the schema of a database: all or nothing, one node at a time."""

from __future__ import annotations

from importlib.resources.abc import Traversable

import psycopg2
from twisted.logger import Logger

from dhtwisted.errors import ConfigurationError, StorageUnavailable
from dhtwisted.kit.schema_scripts import check_scripts, check_structure, checksums, log_upgrade, missing_scripts, schema_directory
from dhtwisted.providers.postgres.rights import MISSING_RIGHTS, missing_rights
from dhtwisted.providers.postgres.statements import Execute

_SCHEMA = schema_directory("dhtwisted.providers.postgres")
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('dhtwisted schema in ' || current_schema(), 0))"
_NO_PRIVILEGE, _NO_SCHEMA = "42501", "3F000"
_OTHERS_TABLES = ("42P07", "42703")
"""A table is there already, or a column is missing in it."""

_HAS_CHECKSUMS = "SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass('schema_version') AND attname = 'checksum' AND NOT attisdropped"
_COLUMNS = """
SELECT relname, attname FROM pg_class JOIN pg_attribute ON attrelid = pg_class.oid
WHERE relkind IN ('r', 'p') AND pg_table_is_visible(pg_class.oid) AND attnum > 0 AND NOT attisdropped
"""

log = Logger()


async def migrate(run: Execute, place: str, directory: Traversable = _SCHEMA) -> None:
    """Run the schema scripts that have not run yet. Other nodes that start meanwhile wait, and find the work done.

    :param run: ``async run(sql, values=None)`` on one connection, which nobody else uses.
    :param place: names the database in errors.
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
    log_upgrade(place, applied)
    if directory is _SCHEMA and (rows := await run(MISSING_RIGHTS)):
        raise ConfigurationError(f"{place}: {missing_rights(rows)}")


async def apply_missing(run: Execute, place: str, directory: Traversable = _SCHEMA) -> list[int]:
    """Apply what is missing in the transaction that is open.

    :returns: the numbers of the scripts.
    """
    await run(_LOCK)
    version = 0
    if (await run("SELECT to_regclass('schema_version') IS NOT NULL"))[0][0]:
        ((version,),) = await run("SELECT coalesce(max(version), 0) FROM schema_version")
    scripts = missing_scripts(directory, version, place)
    await check_made(run, place, directory)
    if scripts and not version:
        await run("CREATE TABLE schema_version (version integer PRIMARY KEY)")
    for number, script in scripts:
        await run(script)
        await run("INSERT INTO schema_version VALUES (%s)", (number,))
    if None in (await _recorded_scripts(run)).values():
        for number, checksum in checksums(directory).items():
            await run("UPDATE schema_version SET checksum = %s WHERE version = %s AND checksum IS NULL", (checksum, number))
    return [number for number, _ in scripts]


async def check_made(run: Execute, place: str, directory: Traversable = _SCHEMA) -> None:
    """Make sure that a database was made by the scripts that this program has; of one without checksums, that it has what these make.

    :raises ConfigurationError: it was made by others.
    """
    if not (await run("SELECT to_regclass('schema_version') IS NOT NULL"))[0][0]:
        return
    ((version,),) = await run("SELECT coalesce(max(version), 0) FROM schema_version")
    recorded = await _recorded_scripts(run)
    check_scripts(directory, recorded, place)
    if not recorded or None in recorded.values():
        found: dict[str, set[str]] = {}
        for table, column in await run(_COLUMNS):
            found.setdefault(table, set()).add(column)
        check_structure(directory, version, found, place)


async def _recorded_scripts(run: Execute) -> dict[int, str | None]:
    """The checksums that the database has: number -> checksum; none in a schema of before there were any."""
    return dict(await run("SELECT version, checksum FROM schema_version")) if await run(_HAS_CHECKSUMS) else {}


def explained(error: psycopg2.Error, place: str) -> ConfigurationError | None:
    """Make a ``ConfigurationError`` for an error that the administrator of the database can solve; ``None`` for any other.

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


async def _roll_back(run: Execute) -> None:
    try:
        await run("ROLLBACK")
    except StorageUnavailable:
        return  # the connection is gone, and the transaction with it

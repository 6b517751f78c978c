"""The storages: are they there, of which schema, and whose."""

import os
import stat

from dhtwisted.cli.doctor.findings import ok, warning, wrong
from dhtwisted.cli.doctor.providers import STORAGES, check_providers, specification_of
from dhtwisted.model import alike
from dhtwisted.providers.opening import data_file
from dhtwisted.providers.sqlite.data_files import MARK, obstacle
from dhtwisted.providers.sqlite.data_files import loss as told_loss
from dhtwisted.providers.sqlite.inspection import ForeignFile, damage_of, has_unread_log, holder_of, inspect_file, logins_of, lost_files
from dhtwisted.providers.sqlite.proof import doubt
from dhtwisted.providers.sqlite.row_search import damaged_rows

RESTORE = "stop the server, keep a copy of the file and its -wal, and restore a backup"


_UNREAD = "not all of its records were looked at (it is large, or of another schema): devicehive backup looks at all"

MOST_NAMED = 10
"""Groups of logins in a finding."""


def file_paths(settings):
    """The paths of the data files that are configured."""
    paths = [data_file(role, specification_of(settings, option)) for option, role in STORAGES.items()]
    return [path for path in paths if path is not None]


def is_served(settings):
    """Whether a server works on the data; ``None`` when none of them is in a file."""
    paths = file_paths(settings)
    return any(holder_of(path) is not None or lost_files(path) is not None for path in paths) if paths else None


def check_storages(configuration, problems=None):
    """Look at what ``[storage]`` names.

    :param configuration: a :class:`~dhtwisted.config.sources.Configuration`.
    :param problems: part -> what the running server says of it: a file of which it does is not looked at.
    :returns: findings, and the times at which something was stored last, in milliseconds.
    """
    findings, times, seen = check_providers(configuration, elsewhere=dict.fromkeys(STORAGES, _CHECKS)), [], set()
    for option, topic in STORAGES.items():
        specification = specification_of(configuration.settings, option)
        name, _, argument = specification.partition(":")
        if name == "memory":
            cure = f"file:PATH or postgres:DSN in {configuration.place(option)} keeps it"
            findings.append(warning(topic, f"memory: forgets everything when the server ends; {cure}"))
        if name not in _CHECKS:
            continue
        path = data_file(topic, specification)
        if path in seen:
            text = f"{path}: is the file of the storage too; leave storage.messages empty, or name another"
            findings.append(wrong(topic, f"{configuration.place(option)}: {text}"))
            continue
        seen.add(path or option)
        if path is not None and any(path in problem for problem in (problems or {}).values()):
            continue
        for finding, newest in _CHECKS[name](topic, path or argument, configuration.place(option)):
            findings.append(finding)
            times += [newest] if newest is not None else []
    return findings, times


def check_file(topic, path, place):
    """Look at a data file and its directory; gives pairs of a finding and the time at which something was stored last.

    :param place: where the file is named.
    """
    lost = lost_files(path)
    if lost is not None:
        server, suffix = lost
        yield wrong(topic, f"{told_loss(path, suffix)} (the server has process id {server})"), None
        return
    reason = obstacle(path)
    if reason is not None:
        yield wrong(topic, f"{place}: {reason}"), None
    elif not os.path.exists(path):
        yield ok(topic, f"{path}: is made at the first start"), None
    else:
        yield from _check_content(topic, path, place)


def _check_content(topic, path, place):
    holder = holder_of(path)
    if has_unread_log(path):
        yield (
            ok(topic, f"{path}: was not looked at, since what was stored last is in {path}-wal; the next start puts it into the file"),
            None,
        )
        return
    try:
        facts = inspect_file(path)
    except ForeignFile as error:
        yield wrong(topic, f"{place}: {path}: {error}; name another, or restore a backup if it was the data of this server"), None
        return
    except ValueError as error:
        yield wrong(topic, f"{path}: cannot be read ({error}); {RESTORE}"), None
        return
    doubted = doubt(path) if holder is None and facts.version else None
    damage, is_all = _damage(path, facts) if holder is None else (None, False)
    if doubted is not None:
        yield wrong(topic, doubted), None
    if damage is not None:
        yield wrong(topic, f"{path}: is damaged ({damage}); {RESTORE}"), None
    else:
        yield _check_schema(topic, path, facts, _state(path, holder, doubted, is_all)), facts.newest
        if facts.version:
            yield from _check_logins(topic, path, logins_of(path))
    if stat.S_IMODE(os.stat(path).st_mode) & 0o077:
        yield warning(topic, f"{path}: others may read it, and it has hashes of passwords; run: chmod 600 {path}"), None


def _damage(path, facts):
    """What is damaged in words, ``None`` for nothing that was found; and whether all rows were looked at."""
    form = damage_of(path)
    if form is not None or facts.version != facts.known_version:
        # The rows of another schema have other columns.
        return form, not facts.version
    return damaged_rows(path)


def _state(path, holder, doubted, is_all):
    if holder is not None:
        return f"the server with process id {holder} works on it"
    rows = "" if is_all else f"; {_UNREAD}"
    if doubted is not None:
        return f"no server works on it now{rows}"
    if os.path.exists(path + MARK):
        return f"no server works on it now; it has all that its mark says{rows}"
    return f"no server works on it now; it is whole without a mark, which the next start makes{rows}"


def _check_schema(topic, place, facts, state):
    if facts.version > facts.known_version:
        reason = f"has schema {facts.version}, newer than schema {facts.known_version} of this program"
        return wrong(topic, f"{place}: {reason}; install the newer release")
    if facts.version < facts.known_version:
        return ok(topic, f"{place}: schema {facts.version}, which the next start brings to {facts.known_version}; {state}")
    return ok(topic, f"{place}: schema {facts.version}; {state}")


def _check_logins(topic, place, logins):
    """Name users of older releases whose logins are one login by now."""
    groups = alike(logins)
    if groups:
        names = "; ".join(", ".join(group) for group in groups[:MOST_NAMED]) + ("; ..." if len(groups) > MOST_NAMED else "")
        cure = "they go on, but an import refuses them; give one of each another login by the API (user/update)"
        yield warning(topic, f"{place}: logins differ in case alone: {names}; {cure}"), None


def check_postgres(topic, dsn, place):
    """Look at a database; gives pairs of a finding and the time at which something was stored last.

    :param place: where the database is named.
    """
    try:
        from dhtwisted.providers.postgres.inspection import inspect_database
    except ImportError as error:
        yield wrong(topic, f"postgres: a package is missing ({error}); run: pip install 'dhtwisted[postgres]'"), None
        return
    try:
        facts = inspect_database(dsn)
    except ValueError as error:
        yield wrong(topic, f"{place}: postgres: cannot be used ({error}); see docs/postgres.md"), None
        return
    if facts.is_old:
        yield wrong(topic, f"postgres: {facts.release} is too old; 15 is the oldest that will do"), None
    yield _check_schema(topic, f"PostgreSQL {facts.release}", facts, "it answers"), facts.newest
    yield from _check_logins(topic, "postgres", facts.logins)
    for problem in facts.problems:
        yield wrong(topic, f"{place}: postgres: {problem}"), None
    for name in ("fsync", "full_page_writes"):
        if facts.settings[name] == "off":
            yield wrong(topic, f"postgres: {name} is off: a crash loses what was acknowledged; set {name} = on in postgresql.conf"), None
    if facts.settings["data_checksums"] == "off":
        cure = "stop PostgreSQL and run pg_checksums --enable on its data directory"
        yield warning(topic, f"postgres: data_checksums is off, so what a disk changes is served as it is then; {cure}"), None
    if facts.settings["synchronous_commit"] in ("off", "local"):
        state = facts.settings["synchronous_commit"]
        yield warning(topic, f"postgres: synchronous_commit is {state}; the server sets it to on for itself, other programs do not"), None


_CHECKS = {"file": check_file, "postgres": check_postgres}

"""The storages: are they there, of which schema, whose, and is there room."""

import os
import shutil
import stat

from dhtwisted.doctor.findings import ok, warning, wrong
from dhtwisted.storage.inspection import damage_of, holder_of, inspect_file

LITTLE_SPACE, NO_SPACE = 1024**3, 64 * 1024**2
"""Bytes."""


def file_path(specification):
    """The path of a ``file:`` storage; ``None`` for any other."""
    name, _, argument = specification.partition(":")
    return os.path.realpath(argument) if name == "file" else None


def _file_paths(settings):
    return [path for path in map(file_path, (settings.storage.provider, settings.storage.messages)) if path is not None]


def is_served(settings):
    """Whether a server works on the data; ``None`` when none of them is in a file."""
    paths = _file_paths(settings)
    return any(holder_of(path) is not None for path in paths) if paths else None


def check_storages(settings):
    """Look at what ``[storage]`` names.

    :returns: findings, and the times at which something was stored last, in milliseconds.
    """
    findings, times = [], []
    paths = _file_paths(settings)
    if len(set(paths)) < len(paths):
        findings.append(wrong("messages", f"{paths[0]}: is the file of the storage; leave storage.messages empty, or name another"))
    for topic, specification in (("storage", settings.storage.provider), ("messages", settings.storage.messages)):
        name, _, argument = specification.partition(":")
        if name == "file":
            check = check_file
            argument = file_path(specification)
        elif name == "postgres":
            check = check_postgres
        elif name == "memory":
            findings.append(warning(topic, "memory: forgets everything when the server ends; file:PATH or postgres:DSN keep it"))
            continue
        elif name:
            findings.append(warning(topic, f"{name}: is a provider of its own, which was not looked at"))
            continue
        else:
            continue
        for finding, newest in check(topic, argument):
            findings.append(finding)
            times += [newest] if newest is not None else []
    return findings, times


def check_file(topic, path):
    """Look at a data file and its directory; gives pairs of a finding and the time at which something was stored last."""
    directory = os.path.dirname(path)
    if not os.path.isdir(directory):
        yield wrong(topic, f"{path}: there is no directory {directory}; make it, or name another"), None
        return
    if not os.access(directory, os.W_OK | os.X_OK):
        yield wrong(topic, f"{directory}: this user may not write there; chown it to the server's user"), None
    holder = holder_of(path)
    if os.path.exists(path) and not os.path.isfile(path):
        yield wrong(topic, f"{path}: is no file; name another"), None
        return
    if not os.path.exists(path):
        yield ok(topic, f"{path}: is made at the first start"), None
    else:
        yield from _check_content(topic, path, holder)
    for file in (path, f"{path}.lock"):
        if os.path.exists(file) and not os.access(file, os.R_OK | os.W_OK):
            yield wrong(topic, f"{file}: this user may not read and write it; chown it to the server's user"), None
    yield check_space(topic, directory), None


def _check_content(topic, path, holder):
    try:
        facts = inspect_file(path)
    except ValueError as error:
        cure = "run this as the server's user" if not os.access(path, os.R_OK) else "restore a backup, or name another file"
        yield wrong(topic, f"{path}: cannot be read ({error}); {cure}"), None
        return
    damage = damage_of(path) if holder is None else None
    if damage is not None:
        yield wrong(topic, f"{path}: is damaged ({damage}); restore it from a backup"), None
    state = "no server works on it now" if holder is None else f"the server with process id {holder} works on it"
    yield _check_schema(topic, path, facts, state), facts.newest
    if stat.S_IMODE(os.stat(path).st_mode) & 0o077:
        yield warning(topic, f"{path}: others may read it, and it has hashes of passwords; run: chmod 600 {path}"), None


def _check_schema(topic, place, facts, state):
    if facts.version > facts.known_version:
        reason = f"has schema {facts.version}, newer than schema {facts.known_version} of this program"
        return wrong(topic, f"{place}: {reason}; install the newer release")
    if facts.version < facts.known_version:
        return ok(topic, f"{place}: schema {facts.version}, which the next start brings to {facts.known_version}; {state}")
    return ok(topic, f"{place}: schema {facts.version}; {state}")


def check_space(topic, directory):
    """Look at the disk."""
    free = shutil.disk_usage(directory).free
    text = f"{directory}: {free // 1024**2} MiB are free on the disk"
    if free < NO_SPACE:
        return wrong(topic, f"{text}; make room: without it, what clients send is refused")
    if free < LITTLE_SPACE:
        return warning(topic, f"{text}; make room, or keep messages for a shorter time (storage.retention)")
    return ok(topic, text)


def check_postgres(topic, dsn):
    """Look at a database; gives pairs of a finding and the time at which something was stored last."""
    try:
        from dhtwisted.postgres.inspection import inspect_database
    except ImportError as error:
        yield wrong(topic, f"postgres: a package is missing ({error}); run: pip install 'dhtwisted[postgres]'"), None
        return
    try:
        facts = inspect_database(dsn)
    except ValueError as error:
        yield wrong(topic, f"postgres: cannot be used ({error}); see docs/postgres.md"), None
        return
    if facts.is_old:
        yield wrong(topic, f"postgres: {facts.release} is too old; 15 is the oldest that will do"), None
    yield _check_schema(topic, f"PostgreSQL {facts.release}", facts, "it answers"), facts.newest
    for name in ("fsync", "full_page_writes"):
        if facts.settings[name] == "off":
            yield wrong(topic, f"postgres: {name} is off: a crash loses what was acknowledged; set {name} = on in postgresql.conf"), None
    if facts.settings["synchronous_commit"] in ("off", "local"):
        state = facts.settings["synchronous_commit"]
        yield warning(topic, f"postgres: synchronous_commit is {state}; the server sets it to on for itself, other programs do not"), None

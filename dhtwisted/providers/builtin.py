"""The providers that come with the server.

They are declared in the drop-in ``twisted/plugins/dhtwisted_plugin.py`` as a stranger's would be, and known here as well: a stale plugin
cache, or a package inside a zip file, must not leave the server without storage. Each imports what it needs when it is opened.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from dhtwisted.errors import ConfigurationError
from dhtwisted.interfaces import CheckContext, IAuthProvider, IMessageBus, IStorage, ProviderContext
from dhtwisted.kit.provider import CheckableProvider, ExaminableProvider, FileProvider
from dhtwisted.model import Examination, Finding


def _open_memory(argument: str, context: ProviderContext) -> IStorage:
    from dhtwisted.providers.memory import MemoryStorage

    return MemoryStorage(context.reactor)


def _examine_memory(argument: str, context: CheckContext) -> Examination:
    cure = f"file:PATH or postgres:DSN in {context.place} keeps it"
    return Examination(findings=[Finding("warning", "memory: forgets everything when the server ends", cure)])


def _open_file(argument: str, context: ProviderContext) -> IStorage:
    from dhtwisted.providers.sqlite.storage import FileStorage

    return FileStorage(argument, context.reactor)


def _check_file(argument: str, context: CheckContext) -> None:
    from dhtwisted.providers.sqlite.data_files import open_problem

    reason = open_problem(os.path.realpath(argument))
    if reason is not None:
        raise ConfigurationError(reason)


def _examine_file(argument: str, context: CheckContext) -> Examination:
    from dhtwisted.providers.sqlite.examination import examine_file

    return examine_file(os.path.realpath(argument), context.place)


@contextmanager
def _driver_needed() -> Iterator[None]:
    """Say how to install what an import in the block lacks."""
    try:
        yield
    except ImportError as error:
        raise ConfigurationError(f"postgres: a package is missing ({error}); run: pip install 'dhtwisted[postgres]'") from error


def _open_postgres(argument: str, context: ProviderContext) -> IStorage:
    with _driver_needed():
        from dhtwisted.providers.postgres.storage import PostgresStorage

    return PostgresStorage(argument, context.reactor)


def _examine_postgres(argument: str, context: CheckContext) -> Examination:
    try:
        with _driver_needed():
            from dhtwisted.providers.postgres.examination import examine_database
    except ConfigurationError as error:
        return Examination(findings=[Finding("wrong", str(error))])
    return examine_database(argument, context.place)


def _open_postgres_bus(argument: str, context: ProviderContext) -> IMessageBus:
    with _driver_needed():
        from dhtwisted.providers.postgres.bus import PostgresBus
        from dhtwisted.providers.postgres.storage import PostgresStorage

    if not isinstance(context.messages, PostgresStorage):
        raise ConfigurationError("bus.provider postgres: it tells of messages in PostgreSQL only; set storage.messages to postgres:DSN too")
    if not isinstance(context.storage, PostgresStorage) or context.storage.store_id != context.messages.store_id:
        raise ConfigurationError(
            "bus.provider postgres: nodes must share users and devices too; storage.provider must be postgres:DSN, the same"
        )
    return PostgresBus(argument, context.reactor, context.messages)


def _open_local(argument: str, context: ProviderContext) -> IMessageBus:
    from dhtwisted.providers.local_bus import LocalBus

    return LocalBus()


def _open_jwt(argument: str, context: ProviderContext) -> IAuthProvider:
    from dhtwisted.providers.jwt.auth import JWTAuth
    from dhtwisted.providers.jwt.signing_key import find_key

    return JWTAuth(context.reactor, context.settings, context.storage, find_key(context.settings, context.storage))


def _examine_jwt(argument: str, context: CheckContext) -> Examination:
    from dhtwisted.providers.jwt.examination import examine_key

    return examine_key(context)


def _check_jwt(argument: str, context: CheckContext) -> Sequence[Finding]:
    # The key and its file are looked at in either case.
    return _examine_jwt(argument, context).findings


def _check_by(build: Callable[[str, ProviderContext], object]) -> Callable[[str, CheckContext], None]:
    """Check a provider by building it, where that touches nothing outside."""

    def check(argument: str, context: CheckContext) -> None:
        build(argument, context)

    return check


memory = ExaminableProvider(
    "storage", "memory", "everything in this process, gone when it ends", "", _open_memory, _check_by(_open_memory), _examine_memory
)
file = FileProvider("storage", "file", "one SQLite file; the default", "PATH", _open_file, _check_file, _examine_file)
postgres = ExaminableProvider(
    "storage",
    "postgres",
    "a PostgreSQL database, 15 or newer, for one server or several",
    "DSN",
    _open_postgres,
    _check_by(_open_postgres),
    _examine_postgres,
)
local = CheckableProvider("bus", "local", "a single server, no other nodes", "", _open_local, _check_by(_open_local))
postgres_bus = CheckableProvider(
    "bus", "postgres", "several servers on one PostgreSQL database", "DSN", _open_postgres_bus, _check_by(_open_postgres_bus)
)
jwt = ExaminableProvider("auth", "jwt", "users of the storage, JSON Web Tokens", "", _open_jwt, _check_jwt, _examine_jwt)

PROVIDERS = (memory, file, postgres, local, postgres_bus, jwt)

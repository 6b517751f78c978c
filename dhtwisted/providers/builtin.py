"""The providers that come with the server.

They are declared in the drop-in ``twisted/plugins/dhtwisted_plugin.py`` as a stranger's would be, and known here as well: a stale plugin
cache, or a package inside a zip file, must not leave the server without storage. Each imports what it needs when it is opened.
"""

import os
from contextlib import contextmanager

from dhtwisted.errors import ConfigurationError
from dhtwisted.kit.provider import CheckableProvider, FileProvider, Provider


def _open_memory(argument, context):
    from dhtwisted.providers.memory import MemoryStorage

    return MemoryStorage(context.reactor)


def _open_file(argument, context):
    from dhtwisted.providers.sqlite.storage import FileStorage

    return FileStorage(argument, context.reactor)


def _check_file(argument, context):
    from dhtwisted.providers.sqlite.data_files import obstacle

    reason = obstacle(os.path.realpath(argument))
    if reason is not None:
        raise ConfigurationError(reason)


@contextmanager
def _driver_needed():
    """Say how to install what an import in the block lacks."""
    try:
        yield
    except ImportError as error:
        raise ConfigurationError(f"postgres: a package is missing ({error}); run: pip install 'dhtwisted[postgres]'") from error


def _open_postgres(argument, context):
    with _driver_needed():
        from dhtwisted.providers.postgres.storage import PostgresStorage

    return PostgresStorage(argument, context.reactor)


def _open_postgres_bus(argument, context):
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


def _open_local(argument, context):
    from dhtwisted.providers.local_bus import LocalBus

    return LocalBus()


def _open_jwt(argument, context):
    from dhtwisted.providers.jwt.auth import JWTAuth
    from dhtwisted.providers.jwt.signing_key import find_key

    return JWTAuth(context.reactor, context.settings, context.storage, find_key(context.settings, context.storage))


def _declare(role, name, description, argument_form, build, look=None):
    """Without a look of its own, building it is one: it touches nothing outside."""
    return CheckableProvider(role, name, description, argument_form, build, look or build)


memory = _declare("storage", "memory", "everything in this process, gone when it ends", "", _open_memory)
file = FileProvider("storage", "file", "one SQLite file; the default", "PATH", _open_file, _check_file)
postgres = _declare("storage", "postgres", "a PostgreSQL database, 15 or newer, for one server or several", "DSN", _open_postgres)
local = _declare("bus", "local", "a single server, no other nodes", "", _open_local)
postgres_bus = _declare("bus", "postgres", "several servers on one PostgreSQL database", "DSN", _open_postgres_bus)
jwt = Provider("auth", "jwt", "users of the storage, JSON Web Tokens", "", _open_jwt)

PROVIDERS = (memory, file, postgres, local, postgres_bus, jwt)

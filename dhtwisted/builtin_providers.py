"""The providers that come with the server.

They are declared in the drop-in ``twisted/plugins/dhtwisted_plugin.py`` as a stranger's would be, and known here as well: a stale plugin
cache, or a package inside a zip file, must not leave the server without storage. Each imports what it needs when it is opened.
"""

from dhtwisted.provider_declaration import Provider


def _open_memory(argument, context):
    from dhtwisted.storage.memory import MemoryStorage

    return MemoryStorage(context.reactor)


def _open_file(argument, context):
    from dhtwisted.storage.file import FileStorage

    return FileStorage(argument, context.reactor)


def _open_local(argument, context):
    from dhtwisted.bus.local import LocalBus

    return LocalBus()


def _open_jwt(argument, context):
    from dhtwisted.auth import JWTAuth
    from dhtwisted.signing_key import find_key

    return JWTAuth(context.reactor, context.settings, context.storage, find_key(context.settings, context.storage))


memory = Provider("storage", "memory", "everything in this process, gone when it ends", "", _open_memory)
file = Provider("storage", "file", "one SQLite file; the default", "PATH", _open_file)
local = Provider("bus", "local", "a single server, no other nodes", "", _open_local)
jwt = Provider("auth", "jwt", "users of the storage, JSON Web Tokens", "", _open_jwt)

PROVIDERS = (memory, file, local, jwt)

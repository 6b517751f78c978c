"""``devicehive backup``: what it does. The copies go through the output, in parts, so that the shell writes them with its own rights."""

from collections import Counter
from functools import partial

from dhtwisted.control.commands import Command
from dhtwisted.control.export import told
from dhtwisted.errors import CommandError, StorageDamaged
from dhtwisted.interfaces import IBackedUpStorage
from dhtwisted.providers.jwt.signing_key import path_beside

STORAGE, MESSAGES, KEY = "storage", "messages", "key"
SUFFIXES = {STORAGE: "", MESSAGES: ".messages", KEY: ".secret"}
"""Part -> what follows the name of the file."""

_INSTEAD = {
    "memory": "what is in memory ends with its server; devicehive export writes it to a file",
    "postgres": "use pg_dump, see docs/postgres.md",
}
_EXPORT = "it makes no copies of itself; devicehive export writes what is in it to a file"


_CURE = (
    "stop the server, keep a copy of the file and its -wal, and restore a backup, or start once with --accept-loss to go on without that"
)


class Backup(Command, tag="backup"):
    """Copy everything.

    :ivar file: where to, for the operator and the audit log. The shell writes it.
    :ivar with_key: the signing key too, where it lies beside the data.
    """

    is_recorded = True
    is_cancelled = True
    file: str
    with_key: bool = True

    def about(self):
        return {"file": self.file}

    async def run(self, context):
        stores = self._stores(context)
        if await context.is_unused():
            raise CommandError("the storage has no users, so no server has worked on it: name the right one with --storage or --config")
        counts = Counter()
        # The messages first: whatever device they are of is in what is copied after them.
        for part, storage in stores:
            # Each of them has all kinds, with zero for those that are kept elsewhere.
            counts.update(await self._back_up(storage, partial(_write, context.output, part)))
        key = self._key(context)
        if key is not None:
            await context.output.write(key, KEY)
        files = ", ".join(f"{self.file}{SUFFIXES[part]}" for part, _ in reversed(stores))
        return f"Copied to {files}: {told(counts)}, checked. {self._about_key(context, key)}"

    async def _back_up(self, storage, write):
        try:
            return await storage.back_up(write)
        except StorageDamaged as error:
            if not error.lasts:
                raise
            raise CommandError(f"{error}; {_CURE}") from error

    def _stores(self, context):
        settings, stores = context.settings.storage, [(STORAGE, context.storage, "storage", context.settings.storage.provider)]
        if context.messages is not context.storage:
            stores.insert(0, (MESSAGES, context.messages, "storage of messages", settings.messages))
        for _, storage, role, specification in stores:
            if not IBackedUpStorage.providedBy(storage):
                name = specification.partition(":")[0]
                raise CommandError(f"the {role} is {name}:, {_INSTEAD.get(name, _EXPORT)}")
        return [(part, storage) for part, storage, *_ in stores]

    def _key(self, context):
        """The signing key, where the server has made it."""
        path = path_beside(context.settings.auth, context.storage)
        return path.read_bytes() if self.with_key and path is not None and path.exists() else None

    def _about_key(self, context, key):
        if key is not None:
            return f"The signing key is in {self.file}{SUFFIXES[KEY]}."
        if path_beside(context.settings.auth, context.storage) is None:
            return "The signing key is not in it: keep what auth.secret_file, the environment or systemd's credential gives."
        return "The signing key is not in it."


async def _write(output, part, data):
    await output.write(data, part)

"""What ``devicehive backup`` does. The copies go to the output in parts, so that the shell writes the files with its own rights."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

from dhtwisted.control.command import Command, CommandOutput, Context
from dhtwisted.control.export import format_counts
from dhtwisted.errors import CommandError
from dhtwisted.interfaces import IBackedUpStorage, IBackupAdvice
from dhtwisted.providers.jwt.signing_key import path_beside

STORAGE, MESSAGES, KEY = "storage", "messages", "key"
SUFFIXES = {STORAGE: "", MESSAGES: ".messages", KEY: ".secret"}
"""Part -> what follows the name of the file."""

_OTHER_ADVICE = "which cannot be copied; use devicehive export"


class Backup(Command, tag="backup"):
    """Copy everything.

    :ivar file: the name of the first file, for the operator and the audit log. The shell writes the files.
    :ivar with_key: copy the signing key too, if it is a file beside the data.
    """

    is_audited = True
    is_cancellable = True
    file: str
    with_key: bool = True

    def audit_members(self) -> dict[str, Any]:
        return {"file": self.file}

    async def run(self, context: Context) -> str:
        stores = self._stores(context)
        if await context.is_unused():
            raise CommandError(
                "the storage has no users, so no server has started on it; name the right storage with --storage or --config"
            )
        counts: Counter[str] = Counter()
        # Messages first: so the later copy of the entities has all devices to which they belong.
        for part, storage in stores:
            # Each counts all kinds, with zero for those that are kept elsewhere.
            counts.update(await storage.back_up(partial(_write, context.output, part)))
        key = self._key(context)
        if key is not None:
            await context.output.write(key, KEY)
        files = ", ".join(f"{self.file}{SUFFIXES[part]}" for part, _ in reversed(stores))
        return f"Copied to {files}: {format_counts(counts)}, checked. {self._about_key(context, key)}"

    def _stores(self, context: Context) -> list[tuple[str, IBackedUpStorage]]:
        settings = context.settings.storage
        stores: list[tuple[str, Any, str, str]] = [(STORAGE, context.storage, "storage", settings.provider)]
        if context.messages is not context.storage:
            stores.insert(0, (MESSAGES, context.messages, "storage of messages", settings.messages))
        for _, storage, role, specification in stores:
            if not IBackedUpStorage.providedBy(storage):
                advice = storage.backup_advice if IBackupAdvice.providedBy(storage) else _OTHER_ADVICE
                raise CommandError(f"the {role} is {specification.partition(':')[0]}:, {advice}")
        return [(part, storage) for part, storage, *_ in stores]

    def _key(self, context: Context) -> bytes | None:
        """The signing key, if the server has created it."""
        path = path_beside(context.settings.auth, context.storage)
        return path.read_bytes() if self.with_key and path is not None and path.exists() else None

    def _about_key(self, context: Context, key: bytes | None) -> str:
        if key is not None:
            return f"The signing key is in {self.file}{SUFFIXES[KEY]}."
        if path_beside(context.settings.auth, context.storage) is None:
            return "The signing key is not in it: also keep a copy of auth.secret_file, of the environment or of systemd's credential."
        return "The signing key is not in it."


async def _write(output: CommandOutput, part: str, data: bytes) -> None:
    await output.write(data, part)

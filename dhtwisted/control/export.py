"""What ``devicehive export`` does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dhtwisted import __version__
from dhtwisted.control.command import Command, Context
from dhtwisted.errors import TransferError
from dhtwisted.model import StoredBytes
from dhtwisted.transfer.exporting import export_all
from dhtwisted.transfer.stream import Writer
from dhtwisted.wire.timestamps import format_timestamp


class Export(Command, tag="export"):
    """Write everything that is stored to the output.

    :ivar file: the name of the file, for the operator and the audit log. The shell writes the file.
    """

    is_audited = True
    file: str

    def audit_members(self) -> dict[str, Any]:
        return {"file": self.file}

    async def run(self, context: Context) -> str:
        if await context.is_unused():
            raise TransferError(
                "the storage has no users, so no server has started on it; name the right storage with --storage or --config"
            )
        output = context.output
        lines: list[bytes] = []
        writer = Writer(lines.append, __version__, format_timestamp(context.now))

        async def report() -> None:
            portion = b"".join(lines)
            lines.clear()
            await output.write(portion)
            await output.progress(sum(writer.counts.values()))

        await export_all(context.storage, context.messages, writer, context.now, report)
        return f"Exported to {self.file}: {format_counts(writer.counts)}."


def format_counts(counts: Mapping[str, int]) -> str:
    """List how many objects of each kind there are, without what a server keeps for its own use."""
    return ", ".join(f"{count} {kind}{'' if count == 1 else 's'}" for kind, count in counts.items() if kind != StoredBytes.KIND)

"""``devicehive export``: what it does."""

from dhtwisted import __version__
from dhtwisted.control.commands import Command
from dhtwisted.errors import TransferError
from dhtwisted.model import StoredBytes
from dhtwisted.transfer.exporting import export_all
from dhtwisted.transfer.stream import Writer
from dhtwisted.wire.timestamps import format_timestamp


class Export(Command, tag="export"):
    """Write everything.

    :ivar file: where to, for the operator and the audit log. The shell opens it.
    """

    is_recorded = True
    file: str

    def about(self):
        return {"file": self.file}

    async def run(self, context):
        if await context.is_unused():
            raise TransferError("the storage has no users, so no server has worked on it: name the right one with --storage or --config")
        output, lines = context.output, []
        writer = Writer(lines.append, __version__, format_timestamp(context.now))

        async def report():
            portion = b"".join(lines)
            lines.clear()
            await output.write(portion)
            await output.progress(sum(writer.counts.values()))

        await export_all(context.storage, context.messages, writer, context.now, report)
        return f"Exported to {self.file}: {told(writer.counts)}."


def told(counts):
    """Say how many objects of each kind there are, but for what the server notes for itself."""
    return ", ".join(f"{count} {kind}{'' if count == 1 else 's'}" for kind, count in counts.items() if kind != StoredBytes.KIND)

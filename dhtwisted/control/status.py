"""What ``devicehive status`` does."""

from __future__ import annotations

import json
from dataclasses import Field, fields
from typing import Any

from dhtwisted.config.kinds import Hidden
from dhtwisted.config.settings import Settings
from dhtwisted.control.command import Command, Context
from dhtwisted.errors import CommandError
from dhtwisted.logs.masking import MASK, mask


class Status(Command, tag="status"):
    """Write the state of the running server as one JSON object."""

    needs_server = True

    async def run(self, context: Context) -> None:
        if context.status is None:
            raise CommandError("no server runs here")
        await context.write_text(f"{json.dumps(await context.status())}\n")


def masked_settings(settings: Settings) -> dict[str, dict[str, Any]]:
    """The configuration as section -> option -> value, with what may be a secret masked."""
    return {section.name: _masked_section(getattr(settings, section.name)) for section in fields(settings)}


def _masked_section(section: Any) -> dict[str, Any]:
    return {option.name: _masked_value(option, getattr(section, option.name)) for option in fields(section)}


def _masked_value(option: Field[Any], value: Any) -> Any:
    kind = option.metadata["kind"]
    if isinstance(kind, Hidden):
        return MASK if value else ""
    return mask(value) if isinstance(value, str) else kind.to_json(value)

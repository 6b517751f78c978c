"""``devicehive status``: how a running server is, as it says itself."""

import json
from dataclasses import fields

from dhtwisted.config.kinds import Hidden
from dhtwisted.control.commands import Command
from dhtwisted.logs.masking import MASK, mask


class Status(Command, tag="status"):
    """Write the state of the server as one object of JSON."""

    needs_server = True

    async def run(self, context):
        await context.say(f"{json.dumps(await context.status())}\n")


def shown(settings):
    """A configuration that may be shown: section -> option -> value, what may be a secret masked."""
    return {section.name: _shown_section(getattr(settings, section.name)) for section in fields(settings)}


def _shown_section(section):
    return {option.name: _shown_value(option, getattr(section, option.name)) for option in fields(section)}


def _shown_value(option, value):
    if isinstance(option.metadata["kind"], Hidden):
        return MASK if value else ""
    return mask(value) if isinstance(value, str) else value

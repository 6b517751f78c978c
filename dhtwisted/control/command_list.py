"""All commands that a server executes for the shell. A new command must be in this list."""

from __future__ import annotations

from dhtwisted.control.backup import Backup
from dhtwisted.control.command import Command
from dhtwisted.control.export import Export
from dhtwisted.control.status import Status
from dhtwisted.control.tokens import TOKEN_COMMANDS
from dhtwisted.control.users import USER_COMMANDS

COMMANDS: tuple[type[Command], ...] = (*USER_COMMANDS, *TOKEN_COMMANDS, Export, Backup, Status)

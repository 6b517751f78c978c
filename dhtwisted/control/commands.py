"""What all commands have in common."""

from typing import ClassVar, Protocol

import msgspec

from dhtwisted.control.account_manager import AccountManager
from dhtwisted.model import EntityQuery, User


class Command(msgspec.Struct, tag_field="command", forbid_unknown_fields=True, kw_only=True):
    """A command with what it was told. Its fields may be secrets, so it shows none.

    :cvar is_recorded: it is a matter for the audit log.
    :cvar is_cancelled: it is cancelled when nobody waits for it any more.
    :cvar needs_server: only a running server can do it.
    :cvar needs_auth: it works on users or tokens, and takes the auth provider.
    :cvar needs_key: that one must have the server's signing key.
    """

    is_recorded: ClassVar[bool] = False
    is_cancelled: ClassVar[bool] = False
    needs_server: ClassVar[bool] = False
    needs_auth: ClassVar[bool] = False
    needs_key: ClassVar[bool] = False

    @property
    def name(self):
        """How the operator calls it, such as ``user add``."""
        return self.__struct_config__.tag

    def about(self):
        """Members of its record in the audit log."""
        return {}

    async def run(self, context):
        """Do it.

        :param context: a :class:`Context`.
        :returns: a line that tells the operator what was done, or ``None``.
        :raises CommandError: it cannot be done.
        """
        raise NotImplementedError

    def __repr__(self):
        return f"<{self.name}>"


class Context:
    """What a command works on.

    :ivar settings: the configuration in force, a :class:`~dhtwisted.config.settings.Settings`.
    :ivar storage: the opened storage.
    :ivar messages: the opened storage of messages, often the same object.
    :ivar auth: an ``IAuthProvider``; ``None`` where the shell has opened none.
    :ivar entities: by which entities are changed: a server's ``Entities``, else the storage.
    :ivar now: milliseconds since 1970 UTC.
    :ivar output: an :class:`Output`.
    :ivar status: an async callable that says how the server is; ``None`` without a server.
    :ivar audited: what a command adds to its record in the audit log.
    """

    def __init__(self, settings, storage, messages, auth, now, output, entities=None, status=None):
        self.settings = settings
        self.storage = storage
        self.messages = messages
        self.auth = auth
        self.entities = entities or storage
        self.now = now
        self.output = output
        self.status = status
        self.audited = {}

    @property
    def accounts(self) -> AccountManager:
        """The users, as :class:`~dhtwisted.control.account_manager.AccountManager`."""
        return AccountManager(self.entities, self.auth, self.now, self.settings)

    async def say(self, text):
        """Write text to the output."""
        await self.output.write(text.encode())

    async def is_unused(self):
        """Whether no server has worked on the storage yet: the first start makes a user."""
        return not await self.storage.count(User, EntityQuery())


class Output(Protocol):
    """Where a command writes."""

    async def write(self, data, part=""):
        """Write bytes; returns when there is room for more.

        :param part: to which of several outputs.
        :raises CommandError: nobody takes them.
        """

    async def progress(self, objects):
        """Say how many objects are done by now.

        :raises CommandError: nobody wants more.
        """


def record(audit, command, context, operator):
    """Put what was done into the audit log.

    :param audit: an :class:`~dhtwisted.logs.audit.Audit`.
    :param operator: the account that asked for it.
    """
    if command.is_recorded:
        audit.done_by_shell(command.name, operator=operator, **command.about() | context.audited)

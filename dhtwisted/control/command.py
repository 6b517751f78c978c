"""What all commands have in common."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, ClassVar, Protocol

import msgspec

from dhtwisted.config.settings import Settings
from dhtwisted.control.account_manager import AccountManager
from dhtwisted.core.device_tokens import AnyEntities
from dhtwisted.interfaces import IAuthProvider, IMessageStorage, IStorage
from dhtwisted.logs.audit import Audit
from dhtwisted.model import EntityQuery, User


class Command(msgspec.Struct, tag_field="command", forbid_unknown_fields=True, kw_only=True):
    """A command and its parameters. They can be secrets, so ``repr`` does not show them.

    :cvar is_audited: the audit log records it.
    :cvar is_cancellable: it is cancelled when its caller has gone.
    :cvar needs_server: only a running server can execute it.
    :cvar needs_auth: it changes or shows users or tokens, and needs the auth provider.
    :cvar needs_key: the auth provider must have the server's signing key.
    """

    is_audited: ClassVar[bool] = False
    is_cancellable: ClassVar[bool] = False
    needs_server: ClassVar[bool] = False
    needs_auth: ClassVar[bool] = False
    needs_key: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """Its words on the command line, such as ``user add``."""
        return str(self.__struct_config__.tag)

    def audit_members(self) -> dict[str, Any]:
        """Members of its record in the audit log."""
        return {}

    async def run(self, context: Context) -> str | None:
        """Execute it.

        :returns: a line for the operator that says what was done, or ``None``.
        :raises CommandError: it cannot be done.
        """
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"<{self.name}>"


class CommandOutput(Protocol):
    """Where a command writes."""

    async def write(self, data: bytes, part: str = "") -> None:
        """Write bytes. Returns when there is room for more.

        :param part: which of several outputs.
        :raises CommandError: nobody reads them.
        """

    async def progress(self, objects: int) -> None:
        """Report how many objects are done.

        :raises CommandError: the caller has gone.
        """


class Context:
    """What a command works on.

    :ivar settings: the configuration in force.
    :ivar storage: the opened storage.
    :ivar messages: the opened storage of messages, often the same object.
    :param auth: the auth provider; ``None`` for a command without ``needs_auth``.
    :ivar entities: where entities are changed: the entity cache of a running server, else the storage.
    :ivar now: milliseconds since 1970 UTC.
    :ivar output: where the command writes.
    :ivar status: returns the state of the server; ``None`` without a server.
    :ivar audited: what a command adds to its record in the audit log.
    """

    def __init__(
        self,
        settings: Settings,
        storage: IStorage,
        messages: IMessageStorage,
        auth: IAuthProvider | None,
        now: int,
        output: CommandOutput,
        entities: AnyEntities | None = None,
        status: Callable[[], Awaitable[dict[str, Any]]] | None = None,
    ) -> None:
        self.settings = settings
        self.storage = storage
        self.messages = messages
        self._auth = auth
        self.entities: AnyEntities = entities or storage
        self.now = now
        self.output = output
        self.status = status
        self.audited: dict[str, Any] = {}

    @property
    def auth(self) -> IAuthProvider:
        """The auth provider, for a command with ``needs_auth``."""
        if self._auth is None:
            raise RuntimeError("a command without needs_auth has no auth provider")
        return self._auth

    @property
    def accounts(self) -> AccountManager:
        """The users, for a command with ``needs_auth``."""
        return AccountManager(self.entities, self.auth, self.now, self.settings)

    async def write_text(self, text: str) -> None:
        """Write text to the output."""
        await self.output.write(text.encode())

    async def is_unused(self) -> bool:
        """Whether no server has started on the storage yet. The first start creates a user."""
        return not await self.storage.count(User, EntityQuery())


def write_audit_record(audit: Audit, command: Command, context: Context, operator: str) -> None:
    """Record an executed command in the audit log.

    :param operator: the account that asked for it.
    """
    if command.is_audited:
        audit.done_by_shell(command.name, operator=operator, **command.audit_members() | context.audited)

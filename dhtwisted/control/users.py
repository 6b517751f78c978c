"""What the commands ``devicehive user ...`` do."""

from __future__ import annotations

import json
from typing import Any, Literal

from dhtwisted.control.command import Command, Context
from dhtwisted.model import ADMINISTRATOR, User
from dhtwisted.wire.timestamps import format_timestamp

STATUSES = ("active", "locked", "disabled")
USERS_AT_ONCE = 500
"""Users in one write to the output."""


class ListUsers(Command, tag="user list"):
    """Show all users."""

    needs_auth = True
    json: bool = False

    async def run(self, context: Context) -> None:
        users = await context.accounts.all()
        for start in range(0, len(users), USERS_AT_ONCE):
            await context.write_text("".join(map(self._line, users[start : start + USERS_AT_ONCE])))

    def _line(self, user: User) -> str:
        members = _members(user)
        if self.json:
            return f"{json.dumps(members)}\n"
        return f"{user.id:>6} {members['role']:<13} {members['status']:<8} {members['lastLogin'] or 'never':<23} {user.login}\n"


def _members(user: User) -> dict[str, Any]:
    return {
        "id": user.id,
        "login": user.login,
        "role": "administrator" if user.role == ADMINISTRATOR else "client",
        "status": STATUSES[user.status],
        "lastLogin": None if user.last_login is None else format_timestamp(user.last_login),
        "networks": sorted(user.network_ids),
        "deviceTypes": "all" if user.all_device_types_available else sorted(user.device_type_ids),
    }


class UserCommand(Command):
    """A change of one user."""

    is_audited = True
    needs_auth = True
    login: str

    def audit_members(self) -> dict[str, Any]:
        return {"login": self.login}


def _done(context: Context, user: User, words: str) -> str:
    """Name the user by the login that they have. The operator may have typed it in another case."""
    context.audited = {"login": user.login}
    return f"{user.login} {words}"


class PasswordCommand(UserCommand):
    """A command that sets a password.

    :ivar random: the shell has generated the password. Nobody has seen it yet, so it is written to the output.
    """

    password: str
    random: bool = False

    async def _show_password(self, context: Context) -> None:
        if self.random:
            await context.write_text(f"{self.password}\n")


class AddUser(PasswordCommand, tag="user add"):
    """Create a user."""

    admin: bool = False
    networks: list[int] = []
    device_types: list[int] | None = None

    def audit_members(self) -> dict[str, Any]:
        return {"login": self.login, "role": "admin" if self.admin else "client"}

    async def run(self, context: Context) -> str:
        accounts = context.accounts
        user = await accounts.add(self.login, self.password, self.admin, self.networks, self.device_types)
        context.audited = accounts.audited
        await self._show_password(context)
        return f"Made user {user.id}, {user.login}."


class SetPassword(PasswordCommand, tag="user passwd"):
    """Set a new password."""

    async def run(self, context: Context) -> str:
        user = await context.accounts.set_password(self.login, self.password)
        await self._show_password(context)
        return _done(context, user, "has another password; their tokens are not valid any more.")


class DisableUser(UserCommand, tag="user disable"):
    """Forbid a user to log in."""

    force: bool = False

    async def run(self, context: Context) -> str:
        user = await context.accounts.disable(self.login, self.force)
        return _done(context, user, "is disabled; their tokens are not valid any more.")


class EnableUser(UserCommand, tag="user enable"):
    """Permit a user to log in again."""

    async def run(self, context: Context) -> str:
        user = await context.accounts.enable(self.login)
        return _done(context, user, "may log in.")


class SetRole(UserCommand, tag="user role"):
    """Make a user an administrator or a client."""

    role: Literal["admin", "client"]
    force: bool = False

    def audit_members(self) -> dict[str, Any]:
        return {"login": self.login, "role": self.role}

    async def run(self, context: Context) -> str:
        user = await context.accounts.set_role(self.login, self.role == "admin", self.force)
        return _done(context, user, f"is {self.role} now; their tokens are not valid any more.")


class DeleteUser(UserCommand, tag="user delete"):
    """Delete a user."""

    force: bool = False

    async def run(self, context: Context) -> str:
        user = await context.accounts.delete(self.login, self.force)
        context.audited = {"login": user.login}
        return f"Deleted user {user.id}, {user.login}."


USER_COMMANDS = (ListUsers, AddUser, SetPassword, DisableUser, EnableUser, SetRole, DeleteUser)

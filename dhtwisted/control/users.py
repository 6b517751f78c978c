"""``devicehive user``: what each of its commands does."""

import json
from typing import Literal

from dhtwisted.control.commands import Command
from dhtwisted.model import ADMINISTRATOR
from dhtwisted.wire.timestamps import format_timestamp

STATUSES = ("active", "locked", "disabled")
LINES = 500
"""Users that are shown at once."""


class ListUsers(Command, tag="user list"):
    """Show all users."""

    needs_auth = True
    json: bool = False

    async def run(self, context):
        users = await context.accounts.all()
        for start in range(0, len(users), LINES):
            await context.say("".join(map(self._line, users[start : start + LINES])))

    def _line(self, user):
        shown = _shown(user)
        if self.json:
            return f"{json.dumps(shown)}\n"
        return f"{user.id:>6} {shown['role']:<13} {shown['status']:<8} {shown['lastLogin'] or 'never':<23} {user.login}\n"


def _shown(user):
    return {
        "id": user.id,
        "login": user.login,
        "role": "administrator" if user.role == ADMINISTRATOR else "client",
        "status": STATUSES[user.status],
        "lastLogin": None if user.last_login is None else format_timestamp(user.last_login),
        "networks": sorted(user.network_ids),
        "deviceTypes": "all" if user.all_device_types_available else sorted(user.device_type_ids),
    }


class _OfLogin(Command):
    """A change of one user."""

    is_recorded = True
    needs_auth = True
    login: str

    def about(self):
        return {"login": self.login}

    @staticmethod
    def _done(context, user, words):
        """Tell by the login that the user has: another case may have been given."""
        context.audited = {"login": user.login}
        return f"{user.login} {words}"


class _WithPassword(_OfLogin):
    """A command that gives a password.

    :ivar random: it was made up and nobody has seen it yet: it is shown, by itself.
    """

    password: str
    random: bool = False

    async def _show(self, context):
        if self.random:
            await context.say(f"{self.password}\n")


class AddUser(_WithPassword, tag="user add"):
    """Make a user."""

    admin: bool = False
    networks: list[int] = []
    device_types: list[int] | None = None

    def about(self):
        return {"login": self.login, "role": "admin" if self.admin else "client"}

    async def run(self, context):
        accounts = context.accounts
        user = await accounts.add(self.login, self.password, self.admin, self.networks, self.device_types)
        context.audited = accounts.audited
        await self._show(context)
        return f"Made user {user.id}, {user.login}."


class SetPassword(_WithPassword, tag="user passwd"):
    """Give a user another password."""

    async def run(self, context):
        user = await context.accounts.set_password(self.login, self.password)
        await self._show(context)
        return self._done(context, user, "has another password; their tokens are no good any more.")


class Disable(_OfLogin, tag="user disable"):
    """Let a user in no more."""

    force: bool = False

    async def run(self, context):
        user = await context.accounts.disable(self.login, self.force)
        return self._done(context, user, "is disabled; their tokens are no good any more.")


class Enable(_OfLogin, tag="user enable"):
    """Let a user in again."""

    async def run(self, context):
        user = await context.accounts.enable(self.login)
        return self._done(context, user, "may log in.")


class SetRole(_OfLogin, tag="user role"):
    """Make a user an administrator, or a client."""

    role: Literal["admin", "client"]
    force: bool = False

    def about(self):
        return {"login": self.login, "role": self.role}

    async def run(self, context):
        user = await context.accounts.set_role(self.login, self.role == "admin", self.force)
        return self._done(context, user, f"is {self.role} now; their tokens are no good any more.")


class Delete(_OfLogin, tag="user delete"):
    """Delete a user."""

    force: bool = False

    async def run(self, context):
        user = await context.accounts.delete(self.login, self.force)
        context.audited = {"login": user.login}
        return f"Deleted user {user.id}, {user.login}."


USER_COMMANDS = (ListUsers, AddUser, SetPassword, Disable, Enable, SetRole, Delete)

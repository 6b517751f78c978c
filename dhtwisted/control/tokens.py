"""What the commands ``devicehive token ...`` do."""

from __future__ import annotations

import json
from typing import Any

from dhtwisted.config.kinds import Duration
from dhtwisted.control.command import Command, Context
from dhtwisted.core.access import Permission
from dhtwisted.errors import AccountError, InvalidCredentials
from dhtwisted.model import ACTIVE, Claims, DeviceToken, User
from dhtwisted.wire.timestamps import format_timestamp, parse_timestamp

ACTIONS: dict[int, str] = {permission: "*" if permission is Permission.ANY else permission.wire_name for permission in Permission}


class CreateToken(Command, tag="token create"):
    """Create a token.

    :ivar expires: a duration or a time, as the operator wrote it.
    """

    is_audited = True
    needs_auth = True
    needs_key = True
    login: str
    refresh: bool = False
    expires: str | None = None
    device: str | None = None
    label: str | None = None
    actions: list[str] = []
    networks: list[int] | None = None
    device_types: list[int] | None = None

    def audit_members(self) -> dict[str, Any]:
        return {"login": self.login, "device": self.device, "label": self.label}

    async def run(self, context: Context) -> None:
        auth, accounts = context.settings.auth, context.accounts
        expires = parse_expiry(self.expires, context.now, auth.refresh_lifetime if self.refresh else auth.access_lifetime)
        token = await accounts.token(
            self.login, expires, self.refresh, self.actions, self.networks, self.device_types, self.device, self.label
        )
        context.audited = accounts.audited
        await context.write_text(f"{token}\n")


class ListTokens(Command, tag="token list"):
    """Show the records of device tokens."""

    needs_auth = True
    device: str | None = None
    json: bool = False

    async def run(self, context: Context) -> None:
        lines = [self._line(record) for record in await context.accounts.device_tokens(self.device)]
        await context.write_text("".join(lines))

    def _line(self, record: DeviceToken) -> str:
        members = {"id": record.id, "device": record.device_id, "user": record.user_id, "label": record.label}
        members |= {"created": format_timestamp(record.created), "expires": format_timestamp(record.expires)}
        text = "{id:>16} {created} {expires} user {user:<6} {device}".format_map(members)
        line = json.dumps(members) if self.json else f"{text} {record.label or ''}".rstrip()
        return f"{line if line.isprintable() else ascii(line)}\n"


class RevokeTokens(Command, tag="token revoke"):
    """End all tokens of a user, or those of one record.

    :ivar login: the user; ``None`` if :attr:`id` is given.
    :ivar id: of the record; ``None`` for all tokens of the user.
    """

    is_audited = True
    needs_auth = True
    login: str | None = None
    id: int | None = None

    def audit_members(self) -> dict[str, Any]:
        return {"login": self.login, "id": self.id}

    async def run(self, context: Context) -> str:
        if self.id is not None:
            await context.accounts.revoke_device_token(self.id)
            return f"The tokens of record {self.id} are not valid any more."
        if self.login is None:
            raise AccountError("a login or the id of a device token is needed")
        user = await context.accounts.revoke(self.login)
        context.audited = {"login": user.login}
        return f"All tokens of {user.login} are not valid any more."


class ShowToken(Command, tag="token show"):
    """Show what a token permits, and whether the server accepts it."""

    needs_auth = True
    needs_key = True
    token: str

    async def run(self, context: Context) -> str:
        try:
            claims = context.auth.verify(self.token)
        except InvalidCredentials:
            raise AccountError("this is not a token, or it is not signed with this server's key") from None
        accounts = context.accounts
        user = next((user for user in await accounts.all() if user.id == claims.user_id), None)
        await context.write_text(f"{json.dumps(_members(claims, user))}\n")
        is_for_device = claims.device_id is not None
        is_deleted = is_for_device and claims.token_id not in [record.id for record in await accounts.device_tokens(claims.device_id)]
        _require_accepted(claims, user, is_deleted, context.now)
        return "The server accepts this token."


def _members(claims: Claims, user: User | None) -> dict[str, Any]:
    return {
        "user": user and user.login,
        "userId": claims.user_id,
        "sort": "refresh" if claims.refresh else "access",
        "expires": format_timestamp(claims.expires),
        "device": claims.device_id,
        "actions": None if claims.actions is None else [ACTIONS.get(action, action) for action in sorted(claims.actions)],
        "networks": None if claims.network_ids is None else sorted(claims.network_ids),
        "deviceTypes": None if claims.device_type_ids is None else sorted(claims.device_type_ids),
    }


def _require_accepted(claims: Claims, user: User | None, is_deleted: bool, now: int) -> None:
    """Raise an error if the server would refuse the token.

    :param is_deleted: it is a device token whose record is deleted.
    """
    if user is None:
        reason = "its user is deleted"
    elif user.status != ACTIVE:
        reason = "its user is not active"
    elif is_deleted or not user.accepts(claims):
        reason = "it was revoked"
    elif claims.expires <= now:
        reason = "it has expired"
    else:
        return
    raise AccountError(f"the server does not accept this token: {reason}")


def parse_expiry(text: str | None, now: int, lifetime: float) -> int:
    """When a token expires.

    :param text: a duration or a time; ``None`` for the usual lifetime.
    :param now: milliseconds.
    :param lifetime: the usual lifetime, in seconds.
    :returns: milliseconds.
    :raises AccountError: the text is neither, or a time in the past.
    """
    if text is None:
        return now + int(lifetime * 1000)
    try:
        return now + int(Duration(lowest=1).from_text(text) * 1000)
    except ValueError:
        pass
    try:
        expires = parse_timestamp(text)
    except ValueError:
        raise AccountError(
            f"--expires {text!r} is neither a duration such as 30m, 12h or 30d nor a time such as 2030-01-01T00:00:00"
        ) from None
    if expires <= now:
        unit = "; a duration has a unit, such as 30m, 12h or 30d" if text.isdigit() else ""
        raise AccountError(f"--expires {text!r} is in the past{unit}")
    return expires


TOKEN_COMMANDS = (CreateToken, ListTokens, RevokeTokens, ShowToken)

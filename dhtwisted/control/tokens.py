"""``devicehive token``: what each of its commands does."""

import json

from dhtwisted.config.kinds import Duration
from dhtwisted.control.commands import Command
from dhtwisted.core.access import Permission
from dhtwisted.errors import AccountError, InvalidCredentials
from dhtwisted.model import ACTIVE
from dhtwisted.wire.timestamps import format_timestamp, parse_timestamp

ACTIONS = {permission: permission.wire_name for permission in Permission} | {Permission.ANY: "*"}


class CreateToken(Command, tag="token create"):
    """Make a token.

    :ivar expires: a duration or a time, as the operator wrote it.
    """

    is_recorded = True
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

    def about(self):
        return {"login": self.login, "device": self.device, "label": self.label}

    async def run(self, context):
        auth, accounts = context.settings.auth, context.accounts
        expires = expiry(self.expires, context.now, auth.refresh_lifetime if self.refresh else auth.access_lifetime)
        token = await accounts.token(
            self.login, expires, self.refresh, self.actions, self.networks, self.device_types, self.device, self.label
        )
        context.audited = accounts.audited
        await context.say(f"{token}\n")


class ListTokens(Command, tag="token list"):
    """Show what is kept of tokens for one device."""

    needs_auth = True
    device: str | None = None
    json: bool = False

    async def run(self, context):
        lines = [self._line(record) for record in await context.accounts.device_tokens(self.device)]
        await context.say("".join(lines))

    def _line(self, record):
        shown = {"id": record.id, "device": record.device_id, "user": record.user_id, "label": record.label}
        shown |= {"created": format_timestamp(record.created), "expires": format_timestamp(record.expires)}
        text = "{id:>16} {created} {expires} user {user:<6} {device}".format_map(shown)
        line = json.dumps(shown) if self.json else f"{text} {record.label or ''}".rstrip()
        return f"{line if line.isprintable() else ascii(line)}\n"


class RevokeTokens(Command, tag="token revoke"):
    """End all tokens of a user, or those of one record.

    :ivar id: of the record; ``None`` for all of :attr:`login`.
    """

    is_recorded = True
    needs_auth = True
    login: str | None = None
    id: int | None = None

    def about(self):
        return {"login": self.login, "id": self.id}

    async def run(self, context):
        if self.id is not None:
            await context.accounts.revoke_device_token(self.id)
            return f"The tokens of record {self.id} are no good any more."
        user = await context.accounts.revoke(self.login)
        context.audited = {"login": user.login}
        return f"All tokens of {user.login} are no good any more."


class ShowToken(Command, tag="token show"):
    """Say what a token is."""

    needs_auth = True
    needs_key = True
    token: str

    async def run(self, context):
        try:
            claims = context.auth.verify(self.token)
        except InvalidCredentials:
            raise AccountError("this is no token, or not signed with this server's key") from None
        accounts = context.accounts
        user = next((user for user in await accounts.all() if user.id == claims.user_id), None)
        await context.say(f"{json.dumps(_shown(claims, user))}\n")
        is_bound = claims.device_id is not None
        is_gone = is_bound and claims.token_id not in [record.id for record in await accounts.device_tokens(claims.device_id)]
        _refuse_dead(claims, user, is_gone, context.now)
        return "The server accepts this token."


def _shown(claims, user):
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


def _refuse_dead(claims, user, is_gone, now):
    if user is None:
        words = "its user is deleted"
    elif user.status != ACTIVE:
        words = "its user is not active"
    elif is_gone or not user.accepts(claims):
        words = "it was revoked"
    elif claims.expires <= now:
        words = "it has expired"
    else:
        return
    raise AccountError(f"the server does not accept this token: {words}")


TOKEN_COMMANDS = (CreateToken, ListTokens, RevokeTokens, ShowToken)


def expiry(text, now, lifetime):
    """When a token ends.

    :param text: a duration, a time as clients send it, or ``None``.
    :param now: milliseconds.
    :param lifetime: seconds, of a token for which nothing is said.
    :returns: milliseconds.
    :raises AccountError: the text is neither, or a time that is past.
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
        raise AccountError(f"--expires {text!r} is past{unit}")
    return expires

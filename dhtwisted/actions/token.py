"""Making tokens: ``token``, ``token/refresh``, ``token/create`` (auth reference, section 4)."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta, Raw

from dhtwisted.actions.audit import MadeTokens
from dhtwisted.actions.device_token import bind, fill_for_device
from dhtwisted.actions.table import WHOLE, Route, action
from dhtwisted.core.access import PERMISSIONS_BY_NAME, Permission, Principal
from dhtwisted.core.accounts import login_claims
from dhtwisted.core.device_tokens import carries_device, require_device
from dhtwisted.core.rules import is_id
from dhtwisted.core.server import Request, Server
from dhtwisted.errors import (
    UNREADABLE,
    AccessDenied,
    BadRequest,
    DeviceTokensUnsupported,
    InvalidAuthorizationRequest,
    InvalidCredentials,
    InvalidTokenType,
    MalformedJson,
    MissingPayload,
    RefreshTokenExpired,
    Unauthorized,
    UnknownLogin,
    UserInactive,
    UserNotFound,
)
from dhtwisted.model import ACTIVE, Claims, User
from dhtwisted.wire.fields import Fields, Integer, Members, Timestamp, milliseconds
from dhtwisted.wire.json_faults import fault
from dhtwisted.wire.members import REQUIRED, AccessTokenText, DeviceId, Label, PermissionName, RightsId
from dhtwisted.wire.resources import Resource

T = TypeVar("T")

MOST_ACTIONS = 1000
NO_PERMISSION = frozenset({Permission.NONE})


class Token(Fields, tag="token"):
    """``login`` and ``password``."""

    login: Annotated[str | None, Meta(description="the login of the user", extra_json_schema={"pattern": r"\S"}), REQUIRED] = None
    password: Annotated[str | None, Meta(description="the password of the user", extra_json_schema={"minLength": 1}), REQUIRED] = None


class TokenRefresh(Fields, tag="token/refresh"):
    """``refreshToken``."""

    refresh_token: Annotated[str | None, Meta(description="a refresh token", extra_json_schema={"minLength": 1}), REQUIRED] = None


class TokenPayload(Members):
    """Rights of a token to be made. Actions are names or numbers; ``*`` in a list means all. ``expiration`` holds for both tokens.

    Our own are ``deviceId``: the tokens are good for this one device, which need not exist yet, and can be revoked by ``token/revoke``; and
    ``label``, what they are called in ``token/list``.
    """

    user_id: Annotated[Integer | None, Meta(description="id of the user who the tokens are for"), REQUIRED] = None
    actions: Annotated[list[PermissionName] | None, Meta(description="names or numbers of permissions; `*` means all. Default: none")] = (
        None
    )
    network_ids: Annotated[list[RightsId] | None, Meta(description="ids of networks; `*` means all. Default: none")] = None
    device_type_ids: Annotated[
        list[RightsId] | None, Meta(description="ids of device types; `*` means all. Default: all that the user may use")
    ] = None
    expiration: Annotated[Timestamp | None, Meta(description="when both tokens expire. Default: as after a login")] = None
    refresh_expiration: Annotated[Timestamp | None, Meta(description="when the refresh token expires. Default: `expiration`")] = None
    device_id: Annotated[
        DeviceId | None, Meta(description="the tokens are valid for this device only; it need not exist yet. Default: any device")
    ] = None
    label: Annotated[Label | None, Meta(description="the name of the tokens in `token/list`; only together with `deviceId`")] = None


class TokenCreate(Fields, tag="token/create"):
    """``payload``."""

    payload: Annotated[TokenPayload | None, Meta(description="the rights of the tokens"), REQUIRED] = None


class Tokens(Resource):
    """An access token and a refresh token."""

    access_token: AccessTokenText
    refresh_token: Annotated[str, Meta(description="a refresh token: for `token/refresh`")]


class AccessToken(Resource):
    """An access token."""

    access_token: AccessTokenText


@action(Token, rest=Route("POST", "/token", body=WHOLE, status=201), audit=MadeTokens())
async def token(request: Request[Token]) -> Tokens:
    """Exchange a login and password for an access token and a refresh token. It does not authenticate the connection.

    WebSocket reference, section 3.2. The error says what was wrong only with ``compatibility.distinct_login_errors``. After too many failed
    logins from an address, all logins from this address are refused for a minute, without a look at the password. After too many failures
    of a login, it is refused for a minute at all addresses except those from which its user has logged in within 30 days. A user without
    such an address has one attempt at each address; the next is possible when nobody has tried this login there for a minute.
    """
    server, fields = request.server, request.fields
    if not (fields.login and fields.login.strip() and fields.password):
        raise InvalidAuthorizationRequest()
    try:
        user = await server.logins.log_in(fields.login, fields.password, request.session.output)
    except (UnknownLogin, InvalidCredentials) as error:
        if server.settings.compatibility.distinct_login_errors:
            raise
        refused = InvalidCredentials()
        refused.login = error.login
        raise refused from None
    # Of the record whose password was checked: if the password was changed since then, these tokens are invalid.
    valid_from = user.valid_from
    user = await server.entities.get(User, user.id) or user
    server.logins.note(user, request.session.output.address)
    return _issue(server, msgspec.structs.replace(login_claims(user, server.settings.limits.token_ids), valid_from=valid_from))


def _ends(server: Server, expires: int | None, refresh_expires: int | None) -> tuple[int, int]:
    """When an access token and a refresh token end. ``None`` stands for the configured lifetime."""
    settings, now = server.settings.auth, server.now()
    return _or(expires, now + int(settings.access_lifetime * 1000)), _or(refresh_expires, now + int(settings.refresh_lifetime * 1000))


def _issue(server: Server, claims: Claims, expires: int | None = None, refresh_expires: int | None = None) -> Tokens:
    access_ends, refresh_ends = _ends(server, expires, refresh_expires)
    access = msgspec.structs.replace(claims, expires=access_ends, refresh=False)
    refresh = msgspec.structs.replace(claims, expires=refresh_ends, refresh=True)
    return Tokens(access_token=server.auth.issue(access), refresh_token=server.auth.issue(refresh))


def _or(value: T | None, default: T) -> T:
    return default if value is None else value


@action(TokenRefresh, rest=Route("POST", "/token/refresh", body=WHOLE, status=201), audit=MadeTokens())
async def token_refresh(request: Request[TokenRefresh]) -> AccessToken:
    """Exchange a refresh token for a new access token with the same rights. The refresh token stays valid."""
    server, text = request.server, request.fields.refresh_token
    if not text:
        raise MissingPayload(detail="refreshToken is missing or empty; give the refresh token that came with the access token")
    try:
        claims = server.auth.verify(text)
    except InvalidCredentials:
        raise Unauthorized() from None
    if not claims.refresh:
        raise InvalidTokenType()
    if claims.expires <= server.now():
        raise RefreshTokenExpired()
    try:
        await server.authentication.check_claims(claims)
    except InvalidCredentials:
        raise Unauthorized() from None
    server.logins.note(server.entities.user(claims.user_id))
    expires = server.now() + int(server.settings.auth.access_lifetime * 1000)
    record = None if claims.device_id is None else server.entities.device_token(claims.token_id)
    if record is not None:
        # The record is deleted some time after its end.
        expires = min(expires, record.expires)
    token = server.auth.issue(msgspec.structs.replace(claims, expires=expires, refresh=False))
    if claims.device_id is not None and not carries_device(server.auth, token, claims):
        raise DeviceTokensUnsupported()
    return AccessToken(access_token=token)


@action(TokenCreate, Permission.MANAGE_TOKEN, rest=Route("POST", "/token/create", body="payload", status=201), audit=MadeTokens())
async def token_create(request: Request[TokenCreate]) -> Tokens:
    """Make tokens with chosen rights. Only an administrator with all permissions may go beyond their own; what others ask for beyond
    theirs is left out of the result. Absent ``networkIds`` are no network; absent ``deviceTypeIds`` are all of a user who may use all, else
    none. With ``deviceId``, lists that are absent mean all that may be.

    Auth reference, section 4. ``compatibility.unrestricted_token_create`` lets everybody make any token, as the reference server does.
    """
    payload, server, principal = request.fields.payload, request.server, request.principal
    if payload is None:
        raise MissingPayload()
    if payload.user_id is None:
        raise BadRequest(detail="payload.userId is missing; give the user's id as an integer")
    free = server.settings.compatibility.unrestricted_token_create or (
        Permission.ANY in principal.claims.actions and principal.is_administrator
    )
    if not free and payload.user_id != principal.user_id:
        raise AccessDenied()
    _check_size(payload, server.settings.limits.token_ids)
    user = await server.entities.get(User, payload.user_id)
    if user is None:
        raise UserNotFound(payload.user_id)
    if user.status != ACTIVE:
        raise UserInactive()
    if payload.device_id is not None:
        fill_for_device(payload)
    claims = Claims(
        user_id=user.id,
        actions=_requested_actions(payload.actions),
        network_ids=_as_set(payload.network_ids, "payload.networkIds"),
        device_type_ids=_as_set(payload.device_type_ids, "payload.deviceTypeIds"),
        expires=0,
        # The new token ends with the caller's token, even if that is revoked at this moment.
        valid_from=principal.claims.valid_from if user.id == principal.user_id else user.valid_from,
    )
    expires, refresh_expires = map(milliseconds, (payload.expiration, _or(payload.refresh_expiration, payload.expiration)))
    if not free:
        claims = _cut(claims, principal)
        latest = server.now() + int(server.settings.auth.refresh_lifetime * 1000)
        expires, refresh_expires = (None if value is None else min(value, latest) for value in (expires, refresh_expires))
    if payload.device_id is None:
        return _issue(server, claims, expires, refresh_expires)
    claims = await bind(request, claims, max(_ends(server, expires, refresh_expires)))
    tokens = _issue(server, claims, expires, refresh_expires)
    await require_device(server.entities, server.auth, claims, (tokens.access_token, tokens.refresh_token))
    return tokens


def _check_size(payload: TokenPayload, limit: int) -> None:
    size = len(payload.network_ids or ()) + len(payload.device_type_ids or ())
    if limit and size > limit:
        detail = f"payload names {size} networks and device types; at most {limit} are allowed (limits.token_ids), and * means all"
        raise BadRequest(detail=detail)
    if len(payload.actions or ()) > MOST_ACTIONS:
        raise BadRequest(detail=f"payload.actions must have at most {MOST_ACTIONS} elements")


def _as_set(ids: list[str] | None, member: str) -> frozenset[str] | None:
    """A list of networks or device types as a set.

    :raises BadRequest: an element is not an id. Such a token would be refused everywhere.
    """
    if ids is None:
        return None
    for index, text in enumerate(ids):
        if text != "*" and not is_id(text):
            raise BadRequest(detail=f"{member}[{index}] must be an id, or * for all")
    return frozenset(ids)


def _requested_actions(actions: list[Raw] | None) -> frozenset[Permission]:
    """Permissions by names and numbers. Unknown ones are left out. If none is left, the token has no permission, not the default ones."""
    found: set[Permission | None] = set()
    for index, raw in enumerate(actions or ()):
        member = f"payload.actions[{index}]"
        value = _primitive(raw, member)
        if isinstance(value, str):
            found.add(PERMISSIONS_BY_NAME.get(value.lower()))
        elif isinstance(value, bool) or not isinstance(value, (int, float)):
            raise MalformedJson(detail=f"{member} must be the name or the number of an action, such as GetDevice")
        elif value in Permission.__members__.values():
            found.add(Permission(int(value)))
    return frozenset(permission for permission in found if permission is not None) or NO_PERMISSION


def _primitive(raw: Raw, member: str) -> Any:
    try:
        return msgspec.json.decode(raw)
    except UNREADABLE:
        raise MalformedJson(detail=f"{member} {fault(bytes(raw))}") from None


def _cut(claims: Claims, principal: Principal) -> Claims:
    """Remove from requested rights what the caller does not have."""
    own = principal.claims
    own_actions = own.actions or frozenset()
    actions = claims.actions or frozenset()
    if Permission.ANY not in own_actions:
        actions = own_actions if Permission.ANY in actions else actions & own_actions
    return msgspec.structs.replace(
        claims,
        actions=frozenset(actions) or NO_PERMISSION,
        network_ids=_cut_networks(claims.network_ids, own.network_ids),
        device_type_ids=_cut_types(claims.device_type_ids, principal),
    )


def _cut_ids(asked: frozenset[str], own: frozenset[str]) -> frozenset[str]:
    if "*" in own:
        return asked
    return own if "*" in asked else asked & own


def _cut_networks(asked: frozenset[str] | None, own: frozenset[str] | None) -> frozenset[str] | None:
    """An absent list names no network, but permits ``device/save`` in all networks of the user. So a caller with a list cannot leave it
    out.
    """
    if asked is None:
        return None if own is None or "*" in own else frozenset()
    return _cut_ids(asked, own or frozenset())


def _cut_types(asked: frozenset[str] | None, principal: Principal) -> frozenset[str] | None:
    """An absent list means all device types for a user who may use all, and none for others."""
    own = principal.claims.device_type_ids
    if own is None:
        return asked if asked is None or principal.token_device_types is None else frozenset()
    return own if asked is None else _cut_ids(asked, own)

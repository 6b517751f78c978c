"""Users: ``user/list``, ``count``, ``get``, ``insert``, ``update``, ``delete``, ``getCurrent``, ``updateCurrent`` (WebSocket reference,
section 3.9).

Who may manage users is a matter of the token. A client-role caller to whom an administrator gave such a token still makes no administrators
and lays no hand on theirs: they would be one themselves by the next login. ``compatibility.clients_manage_administrators`` lets them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any

from msgspec import UNSET, Meta

from dhtwisted.actions.audit import Written
from dhtwisted.actions.lists import answer_list, entity_pages
from dhtwisted.actions.lookups import entity_query
from dhtwisted.actions.renewal import REPLY_HEADERS, REQUEST_HEADERS, RenewedTokens, renewed_tokens
from dhtwisted.actions.table import Route, action
from dhtwisted.core.access import Permission
from dhtwisted.core.accounts import change_user, delete_user, new_user
from dhtwisted.core.rules import check_password, check_role, check_status, check_text, checked_login
from dhtwisted.core.server import Request
from dhtwisted.errors import (
    AdministratorRequired,
    CurrentUserGone,
    Duplicate,
    LoginTaken,
    Missing,
    MissingUser,
    MissingUserId,
    OtherUserNotFound,
    OwnUserDeleted,
    UserNotFound,
)
from dhtwisted.model import ACTIVE, ADMINISTRATOR, EntityQuery, Network, Raised, User, fold_login
from dhtwisted.wire.fields import ABSENT, Fields, Integer, Members
from dhtwisted.wire.members import (
    REQUIRED,
    ChangedClientData,
    ClientData,
    IntroReviewed,
    Login,
    More,
    Password,
    Role,
    ShortText,
    Skip,
    SortOrder,
    Status,
    Take,
    Text,
    UserId,
)
from dhtwisted.wire.payloads import payload
from dhtwisted.wire.resources import Count, GroupResource, InsertedUserResource, QuotaUse, Resource, UserResource, UserWithNetworks

SORT_FIELDS = {"id": "id", "login": "login"}


class UserCount(Fields, tag="user/count"):
    """Which users: ``login`` (exact), ``loginPattern`` (SQL LIKE; ``login`` does not count then), ``role``, ``status``."""

    login: Annotated[str | None, Meta(description="only with exactly this login")] = None
    login_pattern: Annotated[
        ShortText | None,
        Meta(description="only logins that match this pattern: `%` is any text, `_` is any one character; `login` is ignored then"),
    ] = None
    role: Annotated[Integer | None, Meta(description="only with this role")] = None
    status: Annotated[Integer | None, Meta(description="only with this status")] = None


class UserList(UserCount, tag="user/list"):
    """The same, with order (``sortField``: ``id`` or ``login``) and page."""

    sort_field: Annotated[str | None, Meta(description="what to sort by", extra_json_schema={"enum": ["id", "login"]})] = None
    sort_order: SortOrder | None = None
    take: Take | None = None
    skip: Skip | None = None


class Users(Resource):
    """The reply's member."""

    users: Annotated[list[UserResource], Meta(description="the users")]
    more: More = UNSET


@action(UserList, Permission.MANAGE_USER, rest=Route("GET", "/user"))
async def user_list(request: Request[UserList]) -> Users:
    """List users."""
    query = entity_query(request, SORT_FIELDS, **await _conditions(request))
    pages = entity_pages(request, User, query, partial(_conditions, request))
    return await answer_list(request, pages, UserResource.of, lambda users, more: Users(users=users, more=more))


@action(UserCount, Permission.MANAGE_USER, rest=Route("GET", "/user/count"))
async def user_count(request: Request[UserCount]) -> Count:
    """Count users."""
    return Count(count=await request.server.entities.count(User, EntityQuery(**await _conditions(request))))


async def _conditions(request: Request) -> dict[str, Any]:
    fields = request.fields
    check_text(fields.login_pattern, "loginPattern")
    equal = {"role": fields.role, "status": fields.status}
    like = {}
    if fields.login_pattern is not None:
        like["login"] = fields.login_pattern
    else:
        equal["login"] = fields.login
    return {"equal": {name: value for name, value in equal.items() if value is not None}, "like": like}


class UserGet(Fields, tag="user/get"):
    """``userId``."""

    user_id: Annotated[UserId | None, REQUIRED] = None


class OneUser(Resource):
    """The reply's member."""

    user: Annotated[UserWithNetworks, Meta(description="the user")]


@action(UserGet, Permission.MANAGE_USER, rest=Route("GET", "/user/{userId}"))
async def user_get(request: Request[UserGet]) -> OneUser:
    """Read one user with their networks, and with what they have used of their quotas. A caller with the client's role can read only
    themselves."""
    user_id, principal = request.fields.user_id, request.principal
    if user_id is not None and user_id != principal.user_id and not principal.is_administrator:
        raise OtherUserNotFound(user_id)
    return await _with_networks(request, await find_user(request, user_id), lambda found: OneUser(user=found))


class UserGetCurrent(Fields, tag="user/getCurrent"):
    """No members."""


class CurrentUser(Resource):
    """The reply's member."""

    current: Annotated[UserWithNetworks, Meta(description="the user who asks")]


@action(UserGetCurrent, Permission.GET_CURRENT_USER, rest=Route("GET", "/user/current"))
async def user_get_current(request: Request[UserGetCurrent]) -> CurrentUser:
    """Read oneself, with one's networks, and with what one has used of one's quotas."""
    return await _with_networks(request, _current(request), lambda found: CurrentUser(current=found))


def _current(request: Request) -> User:
    user: User | None = request.principal.user
    if user is None:
        raise CurrentUserGone()
    return user


async def find_user(request: Request, user_id: int | None) -> User:
    """Find a user.

    :raises MissingUserId: there is no id.
    :raises UserNotFound: there is no such user.
    """
    if user_id is None:
        raise MissingUserId()
    user: User | None = await request.server.entities.get(User, user_id)
    if user is None:
        raise UserNotFound(user_id)
    return user


async def _with_networks(request: Request, user: User, make: Callable[[UserWithNetworks], Any]) -> Any:
    quotas = {name: QuotaUse(used=used, limit=limit) for name, (used, limit) in (await request.server.quotas.use(user.id)).items()}

    async def conditions() -> dict[str, Any]:
        return {"within": {"id": user.network_ids}}

    def with_networks(networks: Any, more: Any) -> Any:
        return make(UserWithNetworks.with_networks(user, networks, more, quotas))

    pages = entity_pages(request, Network, EntityQuery(**await conditions()), conditions)
    return await answer_list(request, pages, GroupResource.of, with_networks)


class UserChange(Members):
    """What is to be changed of a user; the rest stays. ``role``: 0 administrator, 1 client; ``status``: 0 active, 1 locked out, 2 disabled;
    ``data``: any JSON, null clears it; an empty ``password`` is none.
    """

    login: Login | None = None
    password: Password | None = None
    role: Role | None = None
    status: Status | None = None
    data: ChangedClientData = ABSENT
    intro_reviewed: IntroReviewed | None = None


class NewUser(UserChange):
    """A user to be made: ``login``, ``password`` and ``role`` are required."""

    login: Annotated[Login | None, REQUIRED] = None
    password: Annotated[Password | None, REQUIRED] = None
    role: Annotated[Role | None, REQUIRED] = None
    status: Annotated[Status | None, Meta(description="0: active, 1: locked out, 2: disabled. Default: 0")] = None
    data: ClientData = ABSENT
    all_device_types_available: Annotated[
        bool | None, Meta(description="whether the user may use every device type, also future ones. Default: true")
    ] = None


class UserInsert(Fields, tag="user/insert"):
    """``user``."""

    user: Annotated[NewUser | None, Meta(description="the user"), REQUIRED] = None


class InsertedUser(Resource):
    """The reply's member."""

    user: Annotated[InsertedUserResource, Meta(description="the user")]


@action(UserInsert, Permission.MANAGE_USER, rest=Route("POST", "/user", body="user", status=201), audit=Written(User))
async def user_insert(request: Request[UserInsert]) -> InsertedUser:
    """Make a user without networks and, unless the request says otherwise, with all device types."""
    new = request.fields.user
    if new is None:
        raise MissingUser()
    login = checked_login(new.login or "")
    password = new.password or ""
    check_password(password)
    role = check_role(new.role)
    check_status(new.status)
    if role == ADMINISTRATOR and not _manages_administrators(request):
        taken = await request.server.entities.count(User, EntityQuery(equal={"login_key": fold_login(login)}))
        raise LoginTaken() if taken else AdministratorRequired()
    data = payload(new.data, "user.data")
    server = request.server
    user = new_user(
        server.settings,
        server.now(),
        login,
        await _hashed(request, password),
        role,
        status=ACTIVE if new.status is None else new.status,
        data=data,
        intro_reviewed=new.intro_reviewed or False,
        all_device_types_available=new.all_device_types_available is not False,
    )
    try:
        return InsertedUser(user=InsertedUserResource.of(await server.entities.insert(user)))
    except Duplicate:
        raise LoginTaken() from None


def _manages_administrators(request: Request) -> bool:
    """Whether the caller may add, change and delete administrators."""
    return bool(request.principal.is_administrator or request.server.settings.compatibility.clients_manage_administrators)


class UserUpdate(Fields, tag="user/update"):
    """``userId`` and ``user``; ``refreshToken``, to be replaced with the access token when one's own password changes."""

    user_id: Annotated[UserId | None, REQUIRED] = None
    user: Annotated[UserChange | None, Meta(description="the change of the user"), REQUIRED] = None
    refresh_token: Annotated[
        Text | None, Meta(description="a refresh token of the user; the reply replaces it when the caller's own new password ends it")
    ] = None


@action(
    UserUpdate,
    Permission.MANAGE_USER,
    rest=Route("PUT", "/user/{userId}", body="user", object_first=True, request_headers=REQUEST_HEADERS, reply_headers=REPLY_HEADERS),
    audit=Written(User, "fields.user_id"),
)
async def user_update(request: Request[UserUpdate]) -> RenewedTokens | None:
    """Change the given members of a user. A caller with the client's role changes nobody's login, role or status, and no administrator.

    A new password ends the user's tokens. Where it is the caller's own, the reply has new ones, as that of ``user/updateCurrent``.
    """
    user = await find_user(request, request.fields.user_id)
    if user.role == ADMINISTRATOR and user.id != request.principal.user_id and not _manages_administrators(request):
        raise AdministratorRequired()
    return await _update(request, user)


class UserUpdateCurrent(Fields, tag="user/updateCurrent"):
    """``user``; ``refreshToken``, to be replaced with the access token when the password changes."""

    user: Annotated[UserChange | None, Meta(description="the change of the user"), REQUIRED] = None
    refresh_token: Annotated[
        Text | None, Meta(description="a refresh token of the user; the reply replaces it when the new password ends it")
    ] = None


@action(
    UserUpdateCurrent,
    Permission.UPDATE_CURRENT_USER,
    rest=Route("PUT", "/user/current", body="user", request_headers=REQUEST_HEADERS, reply_headers=REPLY_HEADERS),
    audit=Written(User, "principal.user_id"),
)
async def user_update_current(request: Request[UserUpdateCurrent]) -> RenewedTokens | None:
    """Change the given members of oneself; login, role and status only as an administrator.

    A new password ends all tokens of the user, also on this connection. The reply then has an access token with the rights and the expiry
    of the one that was used, and, if the request brought a good ``refreshToken`` of the user, another of these. ``authenticate`` with the
    new access token lets the connection go on. With ``compatibility.tokens_outlive_password`` no token ends.
    """
    return await _update(request, _current(request))


async def _update(request: Request, user: User) -> RenewedTokens | None:
    change = request.fields.user
    if change is None:
        raise MissingUser()
    if not request.principal.is_administrator and (change.login, change.role, change.status) != (None, None, None):
        raise AdministratorRequired()
    changes: dict[str, Any] = {name: value for name in ("role", "status", "intro_reviewed") if (value := getattr(change, name)) is not None}
    if change.role is not None:
        check_role(change.role)
    check_status(change.status)
    if change.login is not None:
        changes["login"] = checked_login(change.login)
        if fold_login(changes["login"]) != fold_login(user.login):
            changes["login_key"] = fold_login(changes["login"])
    if change.data:
        changes["data"] = payload(change.data, "user.data")
    if change.password:
        check_password(change.password)
        changes["password"] = await _hashed(request, change.password)
        # Another request may have changed the user meanwhile, and ended the token that is to be replaced.
        user = await find_user(request, user.id)
    ends_tokens = bool(change.password) and not request.server.settings.compatibility.tokens_outlive_password
    if ends_tokens or change.status not in (None, ACTIVE):
        changes["valid_from"] = Raised(request.server.now())
    elif change.role is not None:
        # A client may send the role unchanged.
        changes["valid_from"] = Raised(request.server.now(), when="role")
    try:
        after = await _write(request, user, changes)
    except Duplicate:
        raise LoginTaken() from None
    except Missing:
        raise UserNotFound(user.id) from None
    return renewed_tokens(request, user, after) if ends_tokens else None


async def _write(request: Request, user: User, changes: dict[str, Any]) -> User:
    server = request.server
    if "data" not in changes:
        return await change_user(server.entities, user, changes)
    async with server.quotas.changing_data(request, user.id, user, changes["data"]):
        return await change_user(server.entities, user, changes)


async def _hashed(request: Request, password: str) -> str:
    """The record of a password. This can take seconds, when many passwords wait. So the permission is checked again afterwards."""
    record: str = await request.server.auth.hash_password(password)
    request.server.check(request.action, request.principal)
    return record


class UserDelete(Fields, tag="user/delete"):
    """``userId``."""

    user_id: Annotated[UserId | None, REQUIRED] = None


@action(UserDelete, Permission.MANAGE_USER, rest=Route("DELETE", "/user/{userId}"), audit=Written(User, "fields.user_id"))
async def user_delete(request: Request[UserDelete]) -> None:
    """Delete a user, but not oneself. Their requests and deliveries on open connections end at once."""
    user = await find_user(request, request.fields.user_id)
    if user.id == request.principal.user_id:
        raise OwnUserDeleted()
    if user.role == ADMINISTRATOR and not _manages_administrators(request):
        raise AdministratorRequired()
    if not await delete_user(request.server.entities, user):
        raise UserNotFound(user.id)

"""What an operator does to users and tokens from the shell, through a running server or without one."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, TypeVar

from msgspec.structs import replace

from dhtwisted.config.settings import Settings
from dhtwisted.core.access import CLIENT_PERMISSIONS, PERMISSIONS_BY_NAME, Permission
from dhtwisted.core.accounts import audited_rights, change_user, delete_user, login_claims, new_user
from dhtwisted.core.device_tokens import AnyEntities, bind_claims, new_record, require_device
from dhtwisted.core.rules import (
    DEVICE_ID_RULE,
    LOGIN_RULE,
    LONGEST,
    PASSWORD_RULE,
    check_label,
    check_new_device_id,
    check_password,
    checked_login,
)
from dhtwisted.errors import AccountError, ApiError, DeviceTokensUnsupported, Duplicate
from dhtwisted.interfaces import IAuthProvider
from dhtwisted.model import (
    ACTIVE,
    ADMINISTRATOR,
    CLIENT,
    DISABLED,
    Claims,
    DeviceToken,
    DeviceType,
    EntityQuery,
    Network,
    Raised,
    User,
    fold_login,
)

T = TypeVar("T")


class AccountManager:
    """Changes the users of an opened storage, and makes and ends their tokens.

    :param entities: a running server's :class:`~dhtwisted.core.entity_cache.EntityCache`, so that its clients notice at once; without a
        server, an opened ``IEntityStorage``.
    :param auth: for hashes and tokens.
    :param now: milliseconds since 1970 UTC.
    :param settings: the whole configuration.
    :ivar audited: what the audit log must say about the rights that were given, and to whom.
    """

    def __init__(self, entities: AnyEntities, auth: IAuthProvider, now: int, settings: Settings) -> None:
        self._entities = entities
        self._auth = auth
        self._now = now
        self._settings = settings
        self.audited: dict[str, Any] = {}

    async def all(self) -> list[User]:
        """All users, by id."""
        return await self._entities.find(User, EntityQuery())

    async def find(self, login: str) -> User:
        """Find a user as a login does: first the exact login, then without regard to case.

        :raises AccountError: there is no such user.
        """
        found: list[User] = []
        for equal in ({"login": login}, {"login_key": fold_login(login)}):
            found = found or await self._entities.find(User, EntityQuery(equal=equal, take=1))
        if not found:
            raise AccountError(f"there is no user {login!r}; see: devicehive user list")
        return found[0]

    async def add(
        self,
        login: str,
        password: str,
        is_administrator: bool = False,
        network_ids: Collection[int] = (),
        device_type_ids: Collection[int] | None = None,
    ) -> User:
        """Create a user.

        :param device_type_ids: ``None`` for all.
        :raises AccountError: the login is taken, a value breaks a rule, or a network or device type does not exist.
        """
        await self._check_groups(network_ids, device_type_ids)
        user = new_user(
            self._settings,
            self._now,
            _checked(checked_login, login, f"a login has {LOGIN_RULE}"),
            await self._hash(password),
            ADMINISTRATOR if is_administrator else CLIENT,
            all_device_types_available=device_type_ids is None,
            network_ids=frozenset(network_ids),
            device_type_ids=frozenset(device_type_ids or ()),
        )
        self.audited = {"networks": sorted(user.network_ids), "deviceTypes": "*" if device_type_ids is None else sorted(device_type_ids)}
        try:
            return await self._entities.insert(user)
        except Duplicate:
            raise AccountError(f"the login {user.login!r} is taken, or a login that differs only in upper and lower case") from None

    async def set_password(self, login: str, password: str) -> User:
        """Set a new password. The user's tokens end."""
        user, record = await self.find(login), await self._hash(password)
        return await self._end_tokens(user, password=record)

    async def disable(self, login: str, force: bool = False) -> User:
        """Forbid a user to log in. Their tokens end for good.

        :param force: disable also the last active administrator.
        """
        user = await self.find(login)
        await self._keep_an_administrator(user, force)
        return await self._end_tokens(user, status=DISABLED)

    async def enable(self, login: str) -> User:
        """Permit a user to log in again, with their password."""
        return await change_user(self._entities, await self.find(login), {"status": ACTIVE})

    async def set_role(self, login: str, is_administrator: bool, force: bool = False) -> User:
        """Make a user an administrator or a client. Their tokens end."""
        user = await self.find(login)
        if not is_administrator:
            await self._keep_an_administrator(user, force)
        return await self._end_tokens(user, role=ADMINISTRATOR if is_administrator else CLIENT)

    async def delete(self, login: str, force: bool = False) -> User:
        """Delete a user, and the records of their device tokens."""
        user = await self.find(login)
        await self._keep_an_administrator(user, force)
        await delete_user(self._entities, user)
        return user

    async def revoke(self, login: str) -> User:
        """End all tokens of a user. They can log in again."""
        return await self._end_tokens(await self.find(login))

    async def device_tokens(self, device_id: str | None = None) -> list[DeviceToken]:
        """The records of device tokens, the oldest first.

        :param device_id: only those of this device.
        """
        equal = {} if device_id is None else {"device_id": device_id}
        return await self._entities.find(DeviceToken, EntityQuery(equal=equal, sort="created"))

    async def revoke_device_token(self, token_id: int) -> None:
        """End the tokens of one record.

        :raises AccountError: there is no such record.
        """
        if not await self._entities.delete(DeviceToken, token_id):
            raise AccountError(f"there is no device token with id {token_id}; see: devicehive token list")

    async def token(
        self,
        login: str,
        expires: int,
        refresh: bool = False,
        actions: Collection[str] = (),
        network_ids: Collection[int] | None = None,
        device_type_ids: Collection[int] | None = None,
        device_id: str | None = None,
        label: str | None = None,
    ) -> str:
        """Create a token of a user.

        :param expires: milliseconds.
        :param actions: names such as ``GetDevice``; empty for those that a login gives.
        :param network_ids: ``None`` for those that a login gives.
        :param device_type_ids: ``None`` for those that a login gives.
        :param device_id: the only device that the token is valid for; ``None`` for any.
        :param label: the name of a device token in lists.
        :raises AccountError: the user is not active, an action, network or device type does not exist, or the user may not use it.
        """
        user = await self.find(login)
        if user.status != ACTIVE:
            raise AccountError(f"{login!r} is not active, so the server would refuse the token; see: devicehive user enable")
        permitted = frozenset(map(_permission, actions))
        await self._check_groups(network_ids or (), device_type_ids)
        _check_rights(user, permitted, network_ids or (), device_type_ids or ())
        limit = self._settings.limits.token_ids
        claims = login_claims(user, limit)
        claims = replace(
            claims,
            actions=permitted or claims.actions,
            network_ids=claims.network_ids if network_ids is None else frozenset(map(str, network_ids)),
            device_type_ids=claims.device_type_ids if device_type_ids is None else frozenset(map(str, device_type_ids)),
            expires=expires,
            refresh=refresh,
            valid_from=user.valid_from,
        )
        if limit and claims.size > limit:
            raise AccountError(f"a token may name {limit} networks and device types, not {claims.size} (limits.token_ids)")
        self.audited = {"login": user.login} | audited_rights(claims)
        return self._auth.issue(claims) if device_id is None else await self._device_token(claims, device_id, label)

    async def _device_token(self, claims: Claims, device_id: str, label: str | None) -> str:
        _checked(check_new_device_id, device_id, f"the id of a device has {DEVICE_ID_RULE}")
        _checked(check_label, label, f"a label has 1 to {LONGEST} characters")
        record = await self._entities.insert(new_record(device_id, claims.user_id, self._now, claims.expires, label))
        claims = bind_claims(claims, record)
        self.audited |= audited_rights(claims)
        token = self._auth.issue(claims)
        try:
            await require_device(self._entities, self._auth, claims, [token])
        except DeviceTokensUnsupported:
            raise AccountError("the auth provider does not support tokens for one device") from None
        return token

    async def _end_tokens(self, user: User, **changes: Any) -> User:
        return await change_user(self._entities, user, {"valid_from": Raised(self._now), **changes})

    async def _hash(self, password: str) -> str:
        _checked(check_password, password, f"a password has {PASSWORD_RULE}")
        return await self._auth.hash_password(password)

    async def _check_groups(self, network_ids: Collection[int], device_type_ids: Collection[int] | None) -> None:
        for kind, ids, name in ((Network, network_ids, "network"), (DeviceType, device_type_ids or (), "device type")):
            for key in ids:
                if await self._entities.get(kind, key) is None:
                    raise AccountError(f"there is no {name} {key}")

    async def _keep_an_administrator(self, user: User, force: bool) -> None:
        """Refuse to lose the last administrator who can log in. Without one, nobody could undo it over the API."""
        query = EntityQuery(equal={"role": ADMINISTRATOR, "status": ACTIVE})
        others = [other for other in await self._entities.find(User, query) if other.id != user.id]
        if not others and not force and user.role == ADMINISTRATOR:
            raise AccountError(
                f"{user.login!r} is the last active administrator, and without one nobody can manage the server; --force does it anyway"
            )


def _check_rights(user: User, actions: frozenset[Permission], network_ids: Collection[int], device_type_ids: Collection[int]) -> None:
    """Refuse a token that would permit nothing, or more than a login does."""
    if user.role == ADMINISTRATOR:
        return
    beyond = sorted(action.wire_name if action is not Permission.ANY else "*" for action in actions - CLIENT_PERMISSIONS)
    if beyond:
        raise AccountError(f"{user.login!r} is a client, who may not {', '.join(beyond)}; see: devicehive user role")
    others = [f"network {key}" for key in network_ids if key not in user.network_ids]
    if not user.all_device_types_available:
        others += [f"device type {key}" for key in device_type_ids if key not in user.device_type_ids]
    if others:
        raise AccountError(f"{user.login!r} may not use {', '.join(others)}; an administrator must assign it first")


def _checked(check: Callable[[Any], T], value: Any, rule: str) -> T:
    """Apply a rule of the API.

    :raises AccountError: the value breaks it; the text is the rule.
    """
    try:
        return check(value)
    except ApiError:
        raise AccountError(rule) from None


def _permission(name: str) -> Permission:
    permission = PERMISSIONS_BY_NAME.get(name.lower())
    if permission is None:
        known = ", ".join(sorted(permission.wire_name for permission in Permission if permission > Permission.NONE))
        raise AccountError(f"there is no action {name!r}; known are * and {known}")
    return permission

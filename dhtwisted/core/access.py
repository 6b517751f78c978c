"""Who may do what: permissions of tokens, and one rule for networks and device types (auth reference, sections 3 and 5).

Nothing is frozen at ``authenticate``: the user's role, status and assignments are read at every use, so a change acts at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from typing import Any, TypeVar

from dhtwisted.core.rules import is_id
from dhtwisted.errors import MissingPermission, TokenExpired, Unauthorized
from dhtwisted.model import ADMINISTRATOR, Claims, DeviceToken, User


class Permission(IntEnum):
    """What the member ``a`` of a token lists; numbers are wire constants."""

    ANY = 0
    NONE = 1
    GET_NETWORK = 2
    GET_DEVICE = 3
    GET_DEVICE_NOTIFICATION = 4
    GET_DEVICE_COMMAND = 5
    REGISTER_DEVICE = 6
    CREATE_DEVICE_COMMAND = 7
    UPDATE_DEVICE_COMMAND = 8
    CREATE_DEVICE_NOTIFICATION = 9
    GET_CURRENT_USER = 10
    UPDATE_CURRENT_USER = 11
    MANAGE_USER = 12
    MANAGE_CONFIGURATION = 13
    MANAGE_NETWORK = 14
    MANAGE_TOKEN = 15
    MANAGE_PLUGIN = 16
    GET_DEVICE_TYPE = 17
    MANAGE_DEVICE_TYPE = 18

    @property
    def wire_name(self) -> str:
        """The name that clients send, such as ``GetDevice``."""
        return self.name.title().replace("_", "")


ALL_PERMISSIONS = frozenset(Permission) - {Permission.ANY, Permission.NONE}
ADMINISTRATOR_ONLY = frozenset(
    {Permission.MANAGE_USER, Permission.MANAGE_CONFIGURATION, Permission.MANAGE_NETWORK, Permission.MANAGE_DEVICE_TYPE}
)
CLIENT_PERMISSIONS = ALL_PERMISSIONS - ADMINISTRATOR_ONLY
PERMISSIONS_BY_NAME = {permission.wire_name.lower(): permission for permission in ALL_PERMISSIONS} | {"*": Permission.ANY}

EVERYTHING = frozenset({"*"})

DEVICE_PERMISSIONS = frozenset(
    {
        Permission.GET_DEVICE,
        Permission.GET_DEVICE_NOTIFICATION,
        Permission.GET_DEVICE_COMMAND,
        Permission.REGISTER_DEVICE,
        Permission.CREATE_DEVICE_COMMAND,
        Permission.UPDATE_DEVICE_COMMAND,
        Permission.CREATE_DEVICE_NOTIFICATION,
    }
)
"""What a token for one device can permit at most: the permissions that are about devices."""

T = TypeVar("T")


def _ids(texts: Iterable[str]) -> frozenset[int] | None:
    """The ids in a token's list; ``None`` for all. Entries that are no number are ignored."""
    if "*" in texts:
        return None
    return frozenset(int(text) for text in texts if is_id(text))


def intersect(some: frozenset[T] | None, others: frozenset[T] | None) -> frozenset[T] | None:
    """The intersection of two sets; ``None`` is the set of everything."""
    if some is None:
        return others
    return some if others is None else some & others


class Principal:
    """A user with the rights of one token.

    :param claims: what the token says.
    :param entities: the :class:`~dhtwisted.core.entity_cache.EntityCache` that has the user as they are now.
    :param clock: gives the time when an expired token is refused at each use; ``None`` when it is not (``auth.strict_expiry``).
    :param has_loose_lists: the token's list of device types does not count for a user who may use all of them
        (``compatibility.loose_token_lists``).
    :ivar account: counts for the user's quotas, a :class:`~dhtwisted.core.quotas.UserAccount`.
    """

    __slots__ = (
        "__weakref__",
        "_clock",
        "_entities",
        "_epoch",
        "_has_loose_lists",
        "_permissions",
        "_seen",
        "_sufficient",
        "_token_networks",
        "_token_types",
        "account",
        "claims",
        "user_id",
    )

    def __init__(self, claims: Claims, entities: Any, clock: Any = None, has_loose_lists: bool = False, account: Any = None) -> None:
        self.claims = claims
        self.user_id = claims.user_id
        self.account = account
        self._entities = entities
        self._clock = clock
        self._has_loose_lists = has_loose_lists
        actions = claims.actions or frozenset()
        self._permissions = ALL_PERMISSIONS if Permission.ANY in actions else frozenset(actions)
        self._token_networks = _ids(claims.network_ids or ())
        self._token_types = _ids(claims.device_type_ids or ())
        self._seen: dict[tuple[int, ...], bool] = {}
        # A set would take four times the memory.
        self._sufficient: tuple[frozenset[Permission], ...] = ()
        self._epoch = -1

    def is_made_of(self, claims: Claims, clock: Any, has_loose_lists: bool) -> bool:
        """Whether one that is made of these would be the same."""
        return self._clock is clock and self._has_loose_lists == has_loose_lists and self.claims == claims

    @property
    def user(self) -> User | None:
        """The user as they are now; ``None`` when they were deleted."""
        return self._entities.user(self.user_id)

    @property
    def expired(self) -> bool:
        """Whether the token has expired, and that counts at each use."""
        return self._clock is not None and self.claims.expires <= self._clock.seconds() * 1000

    @property
    def is_administrator(self) -> bool:
        """Whether the user has the administrator's role."""
        user = self.user
        return user is not None and user.role == ADMINISTRATOR

    def require(self, permissions: frozenset[Permission]) -> None:
        """Require one of the permissions.

        :raises Unauthorized: the user is gone or not active, the token was revoked, or it has expired under strict expiry.
        :raises MissingPermission: the token has none of them.
        """
        if self._epoch != self._entities.users_epoch:
            self._forget_answers()
        if permissions in self._sufficient and self._clock is None:
            return
        if self.expired:
            raise TokenExpired()
        if not self._is_accepted():
            raise Unauthorized()
        if self._permissions.isdisjoint(permissions):
            raise MissingPermission(permission.wire_name for permission in sorted(permissions))
        self._sufficient += (permissions,)

    def permits(self, permission: Permission) -> bool:
        """Whether the token has the permission and is still accepted; for deliveries, where no error can be sent."""
        return permission in self._permissions and self._is_accepted() and not self.expired

    @property
    def is_valid(self) -> bool:
        """Whether the user exists and accepts this token, and it has not expired."""
        return self._is_accepted() and not self.expired

    def _is_accepted(self) -> bool:
        """Whether the user exists and accepts this token."""
        user = self.user
        return user is not None and user.accepts(self.claims)

    def receives(self, place: tuple[Permission, int, int]) -> bool:
        """Whether the user may receive events of a place. Answers are kept until a user changes: 0.1 us for each delivery.

        :param place: ``(permission, network id, device type id)``: what is needed, and where the device is.
        """
        if self._epoch != self._entities.users_epoch:
            self._forget_answers()
        answer = self._seen.get(place)
        if answer is None:
            answer = self._seen[place] = self.permits(place[0]) and self._sees_place(*place[1:])
        return answer and (self._clock is None or not self.expired)

    def _forget_answers(self) -> None:
        self._seen.clear()
        self._sufficient = ()
        self._epoch = self._entities.users_epoch

    @property
    def permissions(self) -> frozenset[int]:
        """The permissions of the token."""
        return self._permissions

    @property
    def token_networks(self) -> frozenset[int] | None:
        """Ids of the networks that the token names, whether the user has them or not; ``None`` for all."""
        return self._token_networks

    @property
    def token_device_types(self) -> frozenset[int] | None:
        """Ids of the device types that the token names, whether the user has them or not; ``None`` for all. A token without such a list
        names all for a user who may use all, for others none (auth reference, section 5).
        """
        if self.claims.device_type_ids is None and self.assigned_device_types() is None:
            return None
        if self._has_loose_lists and self._token_types:
            user = self.user
            return None if user is not None and user.all_device_types_available else self._token_types
        return self._token_types

    def networks(self) -> frozenset[int] | None:
        """Ids of the networks that the user may use now; ``None`` for all."""
        return intersect(self._token_networks, self.assigned_networks())

    def device_types(self) -> frozenset[int] | None:
        """Ids of the device types that the user may use now; ``None`` for all."""
        return intersect(self.token_device_types, self.assigned_device_types())

    def assigned_networks(self) -> frozenset[int] | None:
        """The user's own networks, whatever the token says; ``None`` for all."""
        user = self.user
        if user is None:
            return frozenset()
        return None if user.role == ADMINISTRATOR else user.network_ids

    def assigned_device_types(self) -> frozenset[int] | None:
        """The user's own device types, whatever the token says; ``None`` for all."""
        user = self.user
        if user is None:
            return frozenset()
        return None if user.role == ADMINISTRATOR or user.all_device_types_available else user.device_type_ids

    @property
    def unrestricted(self) -> bool:
        """Whether the user may use every network and device type. Their error for a missing device is 404; others get 403."""
        return self.networks() is None and self.device_types() is None

    @property
    def device_id(self) -> str | None:
        """The only device that the token is for; ``None`` for any device."""
        return None

    def frozen(self) -> Principal:
        """The identity of a connection that keeps it when the user is locked or deleted (``compatibility.frozen_connections``)."""
        return FrozenPrincipal(self.claims, self._entities, self._clock, self._has_loose_lists, self.account, self.user)

    def sees(self, network_id: int, device_type_id: int, device_id: str) -> bool:
        """Whether the user may use a device of this network and type. Answers are kept until a user changes."""
        if self._epoch != self._entities.users_epoch:
            self._forget_answers()
        key = (network_id, device_type_id)
        answer = self._seen.get(key)
        if answer is None:
            answer = self._seen[key] = self._sees_place(network_id, device_type_id)
        return answer

    def _sees_place(self, network_id: int, device_type_id: int) -> bool:
        networks, types = self.networks(), self.device_types()
        return (networks is None or network_id in networks) and (types is None or device_type_id in types)


LASTING_PERMISSIONS = frozenset({Permission.MANAGE_USER, Permission.MANAGE_TOKEN, Permission.UPDATE_CURRENT_USER})
"""Permissions to create users, passwords and tokens, which outlive the connection that asks for them."""


class FrozenPrincipal(Principal):
    """A user of an open connection that continues when they are locked or deleted or their tokens are revoked. While the user exists, their
    present role, networks and device types count. They may not change users, passwords and tokens any more, which outlive the connection.

    :param user: as they were when the connection authenticated.
    """

    __slots__ = ("_kept",)

    def __init__(self, claims: Claims, entities: Any, clock: Any, has_loose_lists: bool, account: Any, user: User | None) -> None:
        super().__init__(claims, entities, clock, has_loose_lists, account)
        self._kept = user

    @property
    def user(self) -> User | None:
        """The user as they are now; when they are deleted, as they were."""
        return super().user or self._kept

    def require(self, permissions: frozenset[Permission]) -> None:
        """See :meth:`Principal.require`."""
        present = super().user
        is_over = present is None or not present.accepts(self.claims)
        if is_over and not LASTING_PERMISSIONS.isdisjoint(permissions):
            raise Unauthorized()
        super().require(permissions)

    @property
    def is_valid(self) -> bool:
        """Whether the user exists and accepts this token, and it has not expired."""
        return self._is_accepted() and not self.expired

    def _is_accepted(self) -> bool:
        return True


class DevicePrincipal(Principal):
    """A user with a token for one device. It is accepted as long as its :class:`~dhtwisted.model.DeviceToken` exists.

    Its subscriptions name that device, so :meth:`receives` need not check it.
    """

    __slots__ = ()

    def __init__(self, claims: Claims, entities: Any, clock: Any = None, has_loose_lists: bool = False, account: Any = None) -> None:
        super().__init__(claims, entities, clock, has_loose_lists, account)
        self._permissions &= DEVICE_PERMISSIONS

    @property
    def device_id(self) -> str | None:
        """The device."""
        return self.claims.device_id

    @property
    def user(self) -> User | None:
        """The user as they are now; ``None`` when they were deleted, or the token was revoked."""
        record = self._entities.device_token(self.claims.token_id)
        return super().user if record is not None and is_record_of(record, self.claims) else None

    def frozen(self) -> Principal:
        """This principal: to revoke the token of a device must end its connection too."""
        return self

    @property
    def unrestricted(self) -> bool:
        """Never, since the token is for one device."""
        return False

    def sees(self, network_id: int, device_type_id: int, device_id: str) -> bool:
        """Whether this is the device of the token, in a network and of a type that the user may use."""
        return device_id == self.claims.device_id and super().sees(network_id, device_type_id, device_id)


def is_record_of(record: DeviceToken, claims: Claims) -> bool:
    """Whether a :class:`~dhtwisted.model.DeviceToken` is the record of a token."""
    return (record.id, record.device_id, record.user_id) == (claims.token_id, claims.device_id, claims.user_id)

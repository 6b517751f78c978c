"""Who may do what: permissions of tokens, and one rule for networks and device types (auth reference, sections 3 and 5).

Nothing is frozen at ``authenticate``: the user's role, status and assignments are read at every use, so a change acts at once.
"""

from __future__ import annotations

from enum import IntEnum

from dhtwisted.core.rules import is_id
from dhtwisted.errors import MissingPermission, TokenExpired, Unauthorized
from dhtwisted.model import ADMINISTRATOR, Claims, User


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
    def wire_name(self):
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
"""What a token for one device can permit at most: what is about devices."""


def _ids(texts):
    """Ids of a token's list; ``None`` for all. Entries that are no number name nothing."""
    if "*" in texts:
        return None
    return frozenset(int(text) for text in texts if is_id(text))


def intersect(some, others):
    """Intersection of two sets of which ``None`` is the set of everything."""
    if some is None:
        return others
    return some if others is None else some & others


class Principal:
    """A user as one token presents him.

    :param claims: what the token says.
    :param entities: the :class:`~dhtwisted.core.entity_cache.Entities` in which the user's present state is looked up.
    :param clock: where the time comes from when expiry counts at use; ``None`` when it does not (``auth.strict_expiry``).
    :param has_loose_lists: the token's list of device types does not count for a user who may use all of them
        (``compatibility.loose_token_lists``).
    :ivar account: what counts for the user's quotas, a :class:`~dhtwisted.core.quotas.UserAccount`.
    """

    __slots__ = (
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

    def __init__(self, claims: Claims, entities, clock=None, has_loose_lists: bool = False, account=None):
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
        self._sufficient: set[frozenset[Permission]] = set()
        self._epoch = -1

    @property
    def user(self) -> User | None:
        """The user as he is now; ``None`` when he was deleted."""
        return self._entities.user(self.user_id)

    @property
    def expired(self):
        """True when the token is past its time and that counts at use."""
        return self._clock is not None and self.claims.expires <= self._clock.seconds() * 1000

    @property
    def is_administrator(self):
        """True for a user with the administrator's role."""
        user = self.user
        return user is not None and user.role == ADMINISTRATOR

    def require(self, permissions):
        """Let through who has one of the permissions.

        :param permissions: a frozenset.
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
        self._sufficient.add(permissions)

    def permits(self, permission):
        """Tell whether the token has the permission and still counts; for deliveries, where nobody can be told."""
        return permission in self._permissions and self._is_accepted() and not self.expired

    def _is_accepted(self) -> bool:
        """Tell whether the user is there, and takes this token."""
        user = self.user
        return user is not None and user.accepts(self.claims)

    def receives(self, place):
        """Tell whether events of a place are for him. Answers are kept until a user changes: 0.1 us a delivery.

        :param place: ``(permission, network id, device type id)``: what is needed, and where the device is.
        """
        if self._epoch != self._entities.users_epoch:
            self._forget_answers()
        answer = self._seen.get(place)
        if answer is None:
            answer = self._seen[place] = self.permits(place[0]) and self._sees_place(*place[1:])
        return answer and (self._clock is None or not self.expired)

    def _forget_answers(self):
        self._seen.clear()
        self._sufficient.clear()
        self._epoch = self._entities.users_epoch

    @property
    def permissions(self):
        """The permissions of the token."""
        return self._permissions

    @property
    def token_networks(self):
        """Ids of the networks that the token names, whether he has them or not; ``None`` for all."""
        return self._token_networks

    @property
    def token_device_types(self):
        """Ids of the device types that the token names, whether the user has them or not; ``None`` for all. A token without such a list
        names all for a user who may use all, for others none (auth reference, section 5).
        """
        if self.claims.device_type_ids is None and self.assigned_device_types() is None:
            return None
        if self._has_loose_lists and self._token_types:
            user = self.user
            return None if user is not None and user.all_device_types_available else self._token_types
        return self._token_types

    def networks(self):
        """Ids of the networks that he may use now; ``None`` for all."""
        return intersect(self._token_networks, self.assigned_networks())

    def device_types(self):
        """Ids of the device types that he may use now; ``None`` for all."""
        return intersect(self.token_device_types, self.assigned_device_types())

    def assigned_networks(self):
        """The user's own networks, whatever the token says; ``None`` for all."""
        user = self.user
        if user is None:
            return frozenset()
        return None if user.role == ADMINISTRATOR else user.network_ids

    def assigned_device_types(self):
        """The user's own device types, whatever the token says; ``None`` for all."""
        user = self.user
        if user is None:
            return frozenset()
        return None if user.role == ADMINISTRATOR or user.all_device_types_available else user.device_type_ids

    @property
    def unrestricted(self):
        """True when every network and device type is his: he is told 404 where others are told 403."""
        return self.networks() is None and self.device_types() is None

    @property
    def device_id(self) -> str | None:
        """The only device that is his; ``None`` when there is no such limit."""
        return None

    def frozen(self) -> Principal:
        """Make the identity of a connection that keeps it whatever becomes of the user (``compatibility.frozen_connections``)."""
        return FrozenPrincipal(self.claims, self._entities, self._clock, self._has_loose_lists, self.account, self.user)

    def sees(self, network_id, device_type_id, device_id):
        """Tell whether a device, of this network and type, is his. Answers are kept until a user changes."""
        if self._epoch != self._entities.users_epoch:
            self._forget_answers()
        key = (network_id, device_type_id)
        answer = self._seen.get(key)
        if answer is None:
            answer = self._seen[key] = self._sees_place(network_id, device_type_id)
        return answer

    def _sees_place(self, network_id, device_type_id):
        networks, types = self.networks(), self.device_types()
        return (networks is None or network_id in networks) and (types is None or device_type_id in types)


LASTING_PERMISSIONS = frozenset({Permission.MANAGE_USER, Permission.MANAGE_TOKEN, Permission.UPDATE_CURRENT_USER})
"""What permits to make users, passwords and tokens, which outlive the connection that asks for them."""


class FrozenPrincipal(Principal):
    """A user as an open connection keeps them: locked, deleted, or with tokens that have ended, they go on. Role, networks and device types
    are those of now while the user is there. Users, passwords and tokens are not theirs to change any more: these outlive the connection.

    :param user: as they were when the connection took on the identity.
    """

    __slots__ = ("_kept",)

    def __init__(self, claims: Claims, entities, clock, has_loose_lists: bool, account, user: User | None):
        super().__init__(claims, entities, clock, has_loose_lists, account)
        self._kept = user

    @property
    def user(self) -> User | None:
        """The user as they are now; as they were, when they are deleted."""
        return super().user or self._kept

    def require(self, permissions):
        """See :meth:`Principal.require`."""
        present = super().user
        is_over = present is None or not present.accepts(self.claims)
        if is_over and not LASTING_PERMISSIONS.isdisjoint(permissions):
            raise Unauthorized()
        super().require(permissions)

    def _is_accepted(self) -> bool:
        return True


class DevicePrincipal(Principal):
    """A user as a token presents him that is good for one device alone, and while its :class:`~dhtwisted.model.DeviceToken` is there.

    Its subscriptions name that device, so :meth:`receives` need not ask for it.
    """

    __slots__ = ()

    def __init__(self, claims: Claims, entities, clock=None, has_loose_lists: bool = False, account=None):
        super().__init__(claims, entities, clock, has_loose_lists, account)
        self._permissions &= DEVICE_PERMISSIONS

    @property
    def device_id(self):
        """The device."""
        return self.claims.device_id

    @property
    def user(self) -> User | None:
        """The user as he is now; ``None`` when he was deleted, or the token was revoked."""
        record = self._entities.device_token(self.claims.token_id)
        return super().user if record is not None and is_record_of(record, self.claims) else None

    def frozen(self) -> Principal:
        """The same: whoever revokes the token of a device means its connection too."""
        return self

    @property
    def unrestricted(self):
        """Never: most devices are not his."""
        return False

    def sees(self, network_id, device_type_id, device_id):
        """Tell whether this is his device, and where he may use it."""
        return device_id == self.claims.device_id and super().sees(network_id, device_type_id, device_id)


def is_record_of(record, claims):
    """Tell whether a :class:`~dhtwisted.model.DeviceToken` is that of a token."""
    return (record.id, record.device_id, record.user_id) == (claims.token_id, claims.device_id, claims.user_id)

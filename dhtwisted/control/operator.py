"""Users and their tokens: what an operator does to them from the shell, beside a server or without one."""

from msgspec.structs import replace

from dhtwisted.actions.audit import rights_of
from dhtwisted.actions.device_token import claims_of, forget, is_bound, new_record, records_of
from dhtwisted.actions.token import login_claims
from dhtwisted.actions.user import first_valid_from
from dhtwisted.core.access import PERMISSIONS_BY_NAME, Permission
from dhtwisted.core.rules import DEVICE_ID, LONGEST_PASSWORD, SHORTEST_PASSWORD, check_label, check_password, checked_login
from dhtwisted.errors import AccountError, ApiError, Duplicate
from dhtwisted.model import ACTIVE, ADMINISTRATOR, CLIENT, DISABLED, DeviceToken, DeviceType, EntityQuery, Network, Raised, User, fold_login


class Accounts:
    """The users of an opened storage.

    :param entities: a running server's :class:`~dhtwisted.core.entity_cache.Entities`, so that its clients notice at once; without a
        server, an opened ``IEntityStorage``.
    :param auth: an ``IAuthProvider``, for hashes and tokens.
    :param settings: the whole configuration.
    :ivar now: milliseconds since 1970 UTC, as handed in.
    :ivar recorded: what the audit log is to say of the rights that were given, and to whom.
    """

    def __init__(self, entities, auth, now, settings):
        self._entities = entities
        self._auth = auth
        self.now = now
        self._settings = settings
        self.recorded = {}

    async def all(self):
        """All users, by id."""
        return await self._entities.find(User, EntityQuery())

    async def find(self, login):
        """The user of a login, found as one who logs in is: exactly so if there is one, else without regard to case.

        :raises AccountError: nobody has it.
        """
        found = None
        for equal in ({"login": login}, {"login_key": fold_login(login)}):
            found = found or await self._entities.find(User, EntityQuery(equal=equal, take=1))
        if not found:
            raise AccountError(f"there is no user {login!r}; see: devicehive user list")
        return found[0]

    async def add(self, login, password, is_administrator=False, network_ids=(), device_type_ids=None):
        """Make a user.

        :param device_type_ids: ``None`` for all.
        :returns: him.
        :raises AccountError: the login is taken, something is not as it must be, or there is no such network or device type.
        """
        await self._check_groups(network_ids, device_type_ids)
        login = _checked(checked_login, login, "a login has 3 to 128 letters, digits and _ @ . -")
        user = User(
            login=login,
            login_key=fold_login(login),
            password=await self._hashed(password),
            role=ADMINISTRATOR if is_administrator else CLIENT,
            all_device_types_available=device_type_ids is None,
            network_ids=frozenset(network_ids),
            device_type_ids=frozenset(device_type_ids or ()),
            valid_from=first_valid_from(self._settings, self.now),
        )
        self.recorded = {"networks": sorted(user.network_ids), "deviceTypes": "*" if device_type_ids is None else sorted(device_type_ids)}
        try:
            return await self._entities.insert(user)
        except Duplicate:
            raise AccountError(f"the login {login!r} is taken, or one that differs from it in case alone") from None

    async def set_password(self, login, password):
        """Give a user another password; his tokens end."""
        user, record = await self.find(login), await self._hashed(password)
        return await self._end_tokens(user, password=record)

    async def disable(self, login, force=False):
        """Let a user in no more; his tokens end, also for later.

        :param force: also the last administrator who could enable him.
        """
        user = await self.find(login)
        await self._check_administrators(user, force)
        return await self._end_tokens(user, status=DISABLED)

    async def enable(self, login):
        """Let a user in again, by his password."""
        return await self._change(await self.find(login), status=ACTIVE)

    async def set_role(self, login, is_administrator, force=False):
        """Make a user an administrator, or a client; his tokens end."""
        user = await self.find(login)
        if not is_administrator:
            await self._check_administrators(user, force)
        return await self._end_tokens(user, role=ADMINISTRATOR if is_administrator else CLIENT)

    async def delete(self, login, force=False):
        """Delete a user, and the records of his tokens for devices."""
        user = await self.find(login)
        await self._check_administrators(user, force)
        await self._entities.delete(User, user.id)
        await forget(self._entities, await records_of(self._entities, user.id))
        return user

    async def revoke(self, login):
        """End all tokens of a user; he logs in anew."""
        return await self._end_tokens(await self.find(login))

    async def device_tokens(self, device_id=None):
        """The records of tokens that are good for one device, the oldest first.

        :param device_id: of this one alone.
        """
        return await self._entities.find(
            DeviceToken, EntityQuery(equal={} if device_id is None else {"device_id": device_id}, sort="created")
        )

    async def revoke_device_token(self, token_id):
        """End the tokens of one record.

        :raises AccountError: there is none.
        """
        if not await self._entities.delete(DeviceToken, token_id):
            raise AccountError(f"there is no token of a device with id {token_id}; see: devicehive token list")

    async def token(self, login, expires, refresh=False, actions=(), network_ids=None, device_type_ids=None, device_id=None, label=None):
        """Make a token of a user.

        :param expires: milliseconds.
        :param actions: names such as ``GetDevice``; none for those that a login gives.
        :param network_ids: ``None`` for those that a login gives; likewise the next.
        :param device_id: the only device that it is good for; ``None`` for any.
        :param label: what the record of a device's token is called.
        :raises AccountError: he is not active, there is no such action, network or device type, or it is more than he may.
        """
        user = await self.find(login)
        if user.status != ACTIVE:
            raise AccountError(f"{login!r} is not active, so nobody would accept their token; see: devicehive user enable")
        claims, limit = login_claims(user, 0), self._settings.limits.token_ids
        permitted = frozenset(map(_permission, actions))
        await self._check_groups(network_ids or (), device_type_ids)
        _check_rights(user, claims, permitted, network_ids or (), device_type_ids or ())
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
        self.recorded = {"login": user.login} | rights_of(claims)
        return self._auth.issue(claims) if device_id is None else await self._device_token(claims, device_id, label)

    async def _device_token(self, claims, device_id, label):
        if DEVICE_ID.fullmatch(device_id) is None:
            raise AccountError("the id of a device has 1 to 48 letters, digits and -")
        _checked(check_label, label, "a label has 1 to 128 characters")
        record = await self._entities.insert(new_record(device_id, claims.user_id, self.now, claims.expires, label))
        claims = claims_of(record, claims)
        self.recorded |= rights_of(claims)
        token = self._auth.issue(claims)
        if not is_bound(self._auth, token, claims):
            await self._entities.delete(DeviceToken, record.id)
            raise AccountError("this auth provider does not carry the device of a token")
        return token

    async def _end_tokens(self, user, **changes):
        dead = await records_of(self._entities, user.id)
        changed = await self._change(user, valid_from=Raised(self.now), **changes)
        await forget(self._entities, dead)
        return changed

    async def _change(self, user, **changes):
        return await self._entities.update(User, user.id, changes)

    async def _hashed(self, password):
        _checked(check_password, password, f"a password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters")
        return await self._auth.hash_password(password)

    async def _check_groups(self, network_ids, device_type_ids):
        for kind, ids, what in ((Network, network_ids, "network"), (DeviceType, device_type_ids or (), "device type")):
            for key in ids:
                if await self._entities.get(kind, key) is None:
                    raise AccountError(f"there is no {what} {key}")

    async def _check_administrators(self, user, force):
        """Leave one administrator who can log in: he alone can mend what is wrong with others."""
        query = EntityQuery(equal={"role": ADMINISTRATOR, "status": ACTIVE})
        others = [other for other in await self._entities.find(User, query) if other.id != user.id]
        if not others and not force and user.role == ADMINISTRATOR:
            raise AccountError(f"{user.login!r} is the last active administrator, without whom nobody manages the server; --force does it")


def _check_rights(user, claims, actions, network_ids, device_type_ids):
    """Refuse a token that would open nothing, or more than a login does."""
    if user.role == ADMINISTRATOR:
        return
    beyond = sorted(action.wire_name if action is not Permission.ANY else "*" for action in actions - claims.actions)
    if beyond:
        raise AccountError(f"{user.login!r} is a client, who may not {', '.join(beyond)}; see: devicehive user role")
    others = [f"network {key}" for key in network_ids if key not in user.network_ids]
    if not user.all_device_types_available:
        others += [f"device type {key}" for key in device_type_ids if key not in user.device_type_ids]
    if others:
        raise AccountError(f"{user.login!r} may not use {', '.join(others)}; an administrator assigns it")


def _checked(check, value, rule):
    try:
        return check(value)
    except ApiError:
        raise AccountError(rule) from None


def _permission(name):
    permission = PERMISSIONS_BY_NAME.get(name.lower())
    if permission is None:
        known = ", ".join(sorted(permission.wire_name for permission in Permission if permission > Permission.NONE))
        raise AccountError(f"there is no action {name!r}; known are * and {known}")
    return permission

"""Tokens and logins: JSON Web Tokens in DeviceHive's layout, and the passwords of the users in the storage.

The whole content of a token is one claim, ``payload`` (auth reference, section 1). The checks of a JWT library do not apply to it, so its
members are checked here one by one. Three members are ours. ``vf`` ("valid from") is a copy of the user's ``valid_from``, which revokes
tokens (section 8, row 5). ``d`` and ``id`` are in tokens for one device: the device, and the record of the token. Clients read only ``u``,
``a``, ``n`` and ``dt``.
"""

from __future__ import annotations

import warnings
from typing import Any

import jwt
from jwt.warnings import InsecureKeyLengthWarning
from msgspec.structs import replace
from twisted.internet.defer import DeferredLock
from twisted.logger import Logger
from zope.interface import implementer

from dhtwisted.errors import InvalidCredentials, StorageError, UnknownLogin, UserLocked
from dhtwisted.interfaces import IAuthProvider, IEntityStorage, IKeyedAuth, ISelfCheck
from dhtwisted.kit.bounded_cache import BoundedCache
from dhtwisted.kit.password_records import BLOCK_SIZE, HIGHEST_COST, PARALLEL, Cost
from dhtwisted.kit.reactor import IReactor
from dhtwisted.model import ACTIVE, Claims, EntityQuery, User, fold_login
from dhtwisted.providers.jwt.passwords import PasswordHasher
from dhtwisted.providers.jwt.signing_key import SHORTEST_KEY, SigningKey, fingerprint

ALGORITHM = "HS256"
CLIENT_ACTIONS = frozenset({2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 15, 16, 17})
"""What an empty list of actions means in tokens of a DeviceHive auth service: the rights of any client."""
NO_ACTION = 1
HIGHEST_ACTION = 18
VERIFIED_TOKENS, VERIFIED_BYTES = 10_000, 16 * 1024**2
"""How many verified tokens are cached, and their bytes; the oldest are dropped first. A token takes about 1 KB and saves 20 us at each
use."""

TOKEN_BYTES, ID_BYTES = 700, 110
"""Bytes of a cached token besides its text, and for each id in it; measured."""

_LOWEST, _HIGHEST = -(2**63), 2**63 - 1


@implementer(IAuthProvider, IKeyedAuth, ISelfCheck)
class JWTAuth:
    """See :class:`~dhtwisted.interfaces.IAuthProvider`.

    :param reactor: runs password hashes in threads.
    :param settings: the whole configuration.
    :param storage: the opened entity storage, where users are.
    :param key: the HMAC key, bytes, from :func:`dhtwisted.providers.jwt.signing_key.find_key`.
    """

    log = Logger()

    def __init__(self, reactor: IReactor, settings: Any, storage: IEntityStorage, key: bytes) -> None:
        self._storage = storage
        self._key = key
        self.secret = getattr(key, "secret", None)
        self._empty_means_client = settings.compatibility.secret_encoding == "base64-lenient"
        self._cost = settings.auth.password_cost
        self._hasher = PasswordHasher(reactor, self._cost)
        self._learning = DeferredLock()
        self._knows_costs = False
        self._verified = BoundedCache(VERIFIED_TOKENS, VERIFIED_BYTES, _weight)
        if len(key) < SHORTEST_KEY:
            self.log.warn("The signing key is shorter than {length} bytes: tokens can be forged", length=SHORTEST_KEY)
            # PyJWT would repeat the warning for every token.
            warnings.filterwarnings("ignore", category=InsecureKeyLengthWarning)

    def key_fingerprint(self) -> int:
        """See :meth:`dhtwisted.interfaces.IKeyedAuth.key_fingerprint`."""
        return fingerprint(self._key)

    def problem(self) -> str:
        """See :meth:`dhtwisted.interfaces.ISelfCheck.problem`."""
        return self._key.problem() if isinstance(self._key, SigningKey) else ""

    def verify(self, token: str) -> Claims:
        """Read a token; see :meth:`~dhtwisted.interfaces.IAuthProvider.verify`."""
        claims = self._verified.get(token)
        if claims is None:
            claims = self._verify(token)
            self._verified.put(token, claims)
        return claims

    def issue(self, claims: Claims) -> str:
        """Make a token; see :meth:`~dhtwisted.interfaces.IAuthProvider.issue`.

        An empty set of actions is written as "none" where an empty list would be read as the rights of a client.
        """
        payload: dict[str, Any] = {"u": claims.user_id}
        if claims.actions is not None:
            payload["a"] = sorted(claims.actions) or ([NO_ACTION] if self._empty_means_client else [])
        if claims.network_ids is not None:
            payload["n"] = sorted(claims.network_ids)
        if claims.device_type_ids is not None:
            payload["dt"] = sorted(claims.device_type_ids)
        if claims.valid_from:
            payload["vf"] = claims.valid_from
        if claims.device_id is not None:
            payload |= {"d": claims.device_id, "id": claims.token_id}
        payload |= {"e": claims.expires, "t": 0 if claims.refresh else 1}
        return jwt.encode({"payload": payload}, self._key, ALGORITHM)

    async def login(self, login: str, password: str) -> User:
        """Check a password; see :meth:`~dhtwisted.interfaces.IAuthProvider.login`. It replaces records of another scheme or cost."""
        await self._learn_costs()
        user = await self._find_user(login)
        right = await self._hasher.verify(password, user.password if user else None)
        if user is None:
            raise UnknownLogin(login)
        if not right:
            raise InvalidCredentials()
        if user.status != ACTIVE:
            raise UserLocked()
        if self._hasher.needs_upgrade(user.password):
            return await self._upgrade(user, password)
        return user

    async def hash_password(self, password: str) -> str:
        """Make a record; see :meth:`~dhtwisted.interfaces.IAuthProvider.hash_password`."""
        return await self._hasher.hash(password)

    async def close(self) -> None:
        """End the threads."""
        await self._hasher.close()

    async def _find_user(self, login: str) -> User | None:
        """Find the user with exactly this login, or else the one whose login differs only in case or Unicode form."""
        if not _is_storable(login):
            return None
        # Both queries always run, so that the time does not reveal whether the first one found a user.
        by_key = await self._storage.find(User, EntityQuery(equal={"login_key": fold_login(login)}, take=1))
        exact = await self._storage.find(User, EntityQuery(equal={"login": login}, take=1))
        return next(iter(exact or by_key), None)

    async def _learn_costs(self) -> None:
        """Find out once which costs the users' records have.

        If ``auth.password_cost`` was changed, a login without a user must take as long as one whose record has the old cost. Costs that
        another server adds later are learnt when such a record is checked.
        """
        if self._knows_costs:
            return
        await self._learning.acquire()
        try:
            if not self._knows_costs and await self._count("$scrypt$") != await self._count(_beginning(self._cost)):
                for cost in range(1, HIGHEST_COST + 1):
                    if await self._count(_beginning(cost)):
                        self._hasher.learn(Cost(cost))
            self._knows_costs = True
        finally:
            self._learning.release()

    async def _count(self, beginning: str) -> int:
        return await self._storage.count(User, EntityQuery(like={"password": f"{beginning}%"}))

    async def _upgrade(self, user: User, password: str) -> User:
        record = await self._hasher.hash(password)
        try:
            now = await self._storage.get(User, user.id)
            if now is None or now.password != user.password:
                return user  # The password was changed meanwhile, and the new one must stay.
            upgraded = await self._storage.update(User, user.id, {"password": record})
            return replace(upgraded, valid_from=user.valid_from)
        except StorageError as error:
            # The login succeeds all the same; the next one tries again to replace the record.
            self.log.warn("The password record of user {id} could not be renewed: {error}", id=user.id, error=error)
            return user

    def _verify(self, token: str) -> Claims:
        try:
            payload = jwt.decode(token, self._key, algorithms=[ALGORITHM]).get("payload")
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
            # A lone surrogate is a ValueError, deep nesting in the header a RecursionError; in older releases of PyJWT
            # an "exp" or "nbf" that is no number, or no finite one, is a TypeError or OverflowError.
            raise InvalidCredentials() from error
        if not isinstance(payload, dict) or "tpc" in payload:
            raise InvalidCredentials()
        return Claims(
            user_id=_integer(payload.get("u"), 1),
            actions=self._actions(payload.get("a")),
            network_ids=_ids(payload.get("n")),
            device_type_ids=_ids(payload.get("dt")),
            expires=_integer(payload.get("e")),
            refresh=_integer(payload.get("t"), 0, 1) == 0,
            valid_from=_integer(payload.get("vf", 0), 0),
            **_bond(payload),
        )

    def _actions(self, value: Any) -> frozenset[int] | None:
        if value is None:
            return None
        if not isinstance(value, list):
            raise InvalidCredentials()
        if not value and self._empty_means_client:
            return CLIENT_ACTIONS
        return frozenset(_integer(action, 0, HIGHEST_ACTION) for action in value)


def _beginning(cost: int) -> str:
    """The beginning of a record of a cost, as servers make it. Other records come from imports, and are learnt when they are checked."""
    return f"$scrypt${cost}${BLOCK_SIZE}${PARALLEL}$"


def _weight(token: str, claims: Claims) -> int:
    return len(token) + TOKEN_BYTES + ID_BYTES * claims.size


def _is_storable(login: str) -> bool:
    try:
        login.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in login


def _integer(value: Any, lowest: int = _LOWEST, highest: int = _HIGHEST) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
        raise InvalidCredentials()
    return value


def _bond(payload: dict[str, Any]) -> dict[str, Any]:
    """Read the device for which a token is valid, and the record of the token."""
    if "d" not in payload and "id" not in payload:
        return {}
    device_id = payload.get("d")
    if not isinstance(device_id, str) or not device_id:
        raise InvalidCredentials()
    return {"device_id": device_id, "token_id": _integer(payload.get("id"), 1)}


def _ids(value: Any) -> frozenset[str] | None:
    """Read ``n`` or ``dt``: texts, each a number or ``*``; ``None`` for an absent one."""
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(item, str) and (item == "*" or _is_number(item)) for item in value):
        raise InvalidCredentials()
    return frozenset(value)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20

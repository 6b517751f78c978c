"""Whose access token this is: for ``authenticate``, for the header ``Authorization``, and for a token within one request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from weakref import ref

from dhtwisted.core.access import DevicePrincipal, Principal, is_record_of
from dhtwisted.errors import InvalidCredentials, TokenExpired, TokenTooLarge, Unauthorized
from dhtwisted.model import DeviceToken, User

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from dhtwisted.core.entity_cache import EntityCache
    from dhtwisted.core.quotas import Quotas
    from dhtwisted.interfaces import IAuthProvider
    from dhtwisted.model import Claims

BEARER = "bearer"


class Authentication:
    """Checks the tokens of one server.

    :param clock: gives the time.
    :ivar auth: the ``IAuthProvider`` that verifies tokens.
    :ivar settings: the whole configuration, a ``config.settings.Settings``.
    """

    def __init__(self, clock: IReactorTime, settings: Any, auth: IAuthProvider, entities: EntityCache, quotas: Quotas) -> None:
        self.settings = settings
        self._clock = clock
        self.auth = auth
        self._entities = entities
        self._quotas = quotas

    async def by_token(self, token: str | None) -> Principal:
        """Find out whose access token this is.

        :raises Unauthorized: there is no token.
        :raises InvalidCredentials: the token is wrong, a refresh token, or revoked, or its user is unknown or not active.
        :raises TokenExpired: the token has expired.
        :raises TokenTooLarge: the token names too many networks and device types.
        """
        if not token:
            raise Unauthorized()
        claims = self.auth.verify(token)
        if claims.refresh:
            raise InvalidCredentials()
        if claims.expires <= int(self._clock.seconds() * 1000):
            raise TokenExpired()
        await self.check_claims(claims)
        return self.by_claims(claims)

    def by_claims(self, claims: Claims) -> Principal:
        """The principal of claims that were checked."""
        clock = self._clock if self.settings.auth.strict_expiry else None
        return self._principal(claims, clock, self.settings.compatibility.loose_token_lists)

    def _principal(self, claims: Claims, clock: IReactorTime | None, has_loose_lists: bool) -> Principal:
        """The principal of a token. Connections of a user with the same token share one, if no other token was used in between."""
        account = self._quotas.account(claims.user_id)
        latest = account.latest_principal()
        if latest is not None and latest.is_made_of(claims, clock, has_loose_lists):
            return latest
        kind = Principal if claims.device_id is None else DevicePrincipal
        principal = kind(claims, self._entities, clock, has_loose_lists, account)
        account.latest_principal = ref(principal)
        return principal

    async def by_header(self, authorization: str) -> Principal:
        """Find out whose request this is by its header ``Authorization``: a REST request, or the handshake of a WebSocket.

        :param authorization: ``Bearer`` in any case, and an access token; the space between may be missing.
        :raises Unauthorized: the scheme or the token is wrong. The error does not say which.
        :raises TokenExpired: the token has expired.
        """
        scheme, token = authorization[: len(BEARER)], authorization[len(BEARER) :]
        if scheme.lower() != BEARER:
            raise Unauthorized()
        try:
            return await self.by_token(token.strip())
        except InvalidCredentials:
            raise Unauthorized() from None

    async def check_claims(self, claims: Claims) -> None:
        """Refuse a token, of any kind, that its user does not accept now.

        :raises TokenTooLarge: the token names more than ``limits.token_ids``: each of its connections would keep all these in memory.
        :raises InvalidCredentials: the user is unknown or not active, or the token is revoked.
        """
        limit = self.settings.limits.token_ids
        if limit and claims.size > limit:
            raise TokenTooLarge(claims.size, limit)
        entities, is_bound = self._entities, claims.device_id is not None
        await entities.get(User, claims.user_id)
        if is_bound:
            await entities.get(DeviceToken, claims.token_id)
        # The cache has them as they are now: another that waited for the same answer may have gone on before, and deleted them.
        user, record = entities.user(claims.user_id), entities.device_token(claims.token_id)
        if user is None or not user.accepts(claims) or (is_bound and (record is None or not is_record_of(record, claims))):
            raise InvalidCredentials()

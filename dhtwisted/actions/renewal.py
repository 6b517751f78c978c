"""New tokens for a client whose own new password has ended its tokens, so that it can go on."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta
from msgspec.structs import replace

from dhtwisted.core.server import Request
from dhtwisted.errors import InvalidCredentials
from dhtwisted.model import ACTIVE, Claims, User
from dhtwisted.wire.members import AccessTokenText
from dhtwisted.wire.resources import Resource

REFRESH_HEADER = "X-Refresh-Token"
REQUEST_HEADERS = {"refreshToken": REFRESH_HEADER}
REPLY_HEADERS = {"accessToken": "X-Access-Token", "refreshToken": REFRESH_HEADER}
"""Member -> the header that it is over REST, whose answer to a change of a user has no body."""


class RenewedTokens(Resource):
    """Tokens with the rights and the expiry of those that the new password has ended. ``refreshToken`` is null unless the request brought a
    good one.
    """

    access_token: AccessTokenText
    refresh_token: Annotated[str | None, Meta(description="a refresh token: for `token/refresh`")] = None


def renewed_tokens(request: Request, before: User, after: User) -> RenewedTokens | None:
    """Replace the token of a request that has changed its own user's password, and the refresh token that it brought along.

    :param request: the :class:`~dhtwisted.core.server.Request`; its fields have ``refresh_token``.
    :param before: the user before the change.
    :param after: the user after it.
    :returns: ``None`` where the old token may not be replaced: it is another user's, it had ended before, or the role or status has changed
        too, so that its rights may be too many.
    """
    claims = request.principal.claims
    if after.id != claims.user_id or not before.accepts(claims) or after.role != before.role or after.status != ACTIVE:
        return None
    refresh = _refresh_claims(request, before)
    issue = request.server.auth.issue
    return RenewedTokens(
        access_token=issue(replace(claims, valid_from=after.valid_from)),
        refresh_token=None if refresh is None else issue(replace(refresh, valid_from=after.valid_from)),
    )


def _refresh_claims(request: Request, user: User) -> Claims | None:
    """The claims of the request's refresh token, if it was valid before the change. A token for one device is not replaced."""
    text = request.fields.refresh_token
    if not text:
        return None
    try:
        claims = request.server.auth.verify(text)
    except InvalidCredentials:
        return None
    is_good = claims.refresh and claims.user_id == user.id and user.accepts(claims) and claims.expires > request.server.now()
    return claims if is_good and claims.device_id is None else None

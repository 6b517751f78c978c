"""Rules of tokens that are valid for one device alone. The API and the commands of the shell share them.

Each pair of such tokens has a record, a :class:`~dhtwisted.model.DeviceToken`. The tokens end when their record is deleted.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from msgspec.structs import replace
from twisted.internet.defer import Deferred, gatherResults

from dhtwisted.core.access import DEVICE_PERMISSIONS, Permission
from dhtwisted.core.entity_cache import EntityCache
from dhtwisted.errors import DeviceTokensUnsupported, InvalidCredentials
from dhtwisted.interfaces import IAuthProvider, IEntityStorage
from dhtwisted.model import Claims, DeviceToken, EntityQuery

AnyEntities = EntityCache | IEntityStorage
"""Where entities are changed: in the server's cache, so that clients notice at once, or in a storage without a server."""

DELETED_AT_ONCE = 100
LARGEST_TOKEN_ID = 2**53 - 1
"""JavaScript has no larger integer."""


def new_record(device_id: str, user_id: int, created: int, expires: int, label: str | None) -> DeviceToken:
    """Make a record with a random id.

    The storage must not number the records: after an export and import it would give the last ids again. Then a token whose record was
    deleted would belong to a new record.

    :param created: milliseconds.
    :param expires: milliseconds: when the last token of the record ends.
    """
    token_id = secrets.randbelow(LARGEST_TOKEN_ID) + 1
    return DeviceToken(id=token_id, device_id=device_id, user_id=user_id, created=created, expires=expires, label=label)


def bind_claims(claims: Claims, record: DeviceToken) -> Claims:
    """Restrict claims to the device of a record."""
    actions = claims.actions or frozenset()
    permitted = DEVICE_PERMISSIONS if Permission.ANY in actions else actions & DEVICE_PERMISSIONS
    return replace(claims, device_id=record.device_id, token_id=record.id, actions=permitted or frozenset({Permission.NONE}))


def carries_device(auth: IAuthProvider, token: str, claims: Claims) -> bool:
    """Tell whether the auth provider has put the device and the record of the claims into a token. Without them the token would be valid
    for all devices.
    """
    try:
        found = auth.verify(token)
    except InvalidCredentials:
        return False
    return (found.device_id, found.token_id) == (claims.device_id, claims.token_id)


async def require_device(entities: AnyEntities, auth: IAuthProvider, claims: Claims, tokens: Sequence[str]) -> None:
    """Check that new tokens carry their device. If one does not, delete their record.

    :raises DeviceTokensUnsupported: the auth provider does not support such tokens.
    """
    if not all(carries_device(auth, token, claims) for token in tokens):
        await entities.delete(DeviceToken, claims.token_id)
        raise DeviceTokensUnsupported()


async def records_of_user(entities: AnyEntities, user_id: int) -> list[DeviceToken]:
    """Find the records of a user's tokens."""
    return await entities.find(DeviceToken, EntityQuery(equal={"user_id": user_id}))


async def delete_records(entities: AnyEntities, records: Sequence[DeviceToken]) -> None:
    """Delete records. Many are deleted at the same time: a storage commits them together."""
    for start in range(0, len(records), DELETED_AT_ONCE):
        portion = records[start : start + DELETED_AT_ONCE]
        await gatherResults([Deferred.fromCoroutine(_delete_record(entities, record)) for record in portion], consumeErrors=True)


async def _delete_record(entities: AnyEntities, record: DeviceToken) -> None:
    # A storage may return any awaitable, such as a Deferred.
    await entities.delete(DeviceToken, record.id)

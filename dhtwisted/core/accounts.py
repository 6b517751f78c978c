"""Rules of users and of the rights that their login gives. The API and the commands of the shell share them."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from dhtwisted.core.access import CLIENT_PERMISSIONS, EVERYTHING, Permission
from dhtwisted.core.device_tokens import AnyEntities, delete_records, records_of_user
from dhtwisted.kit.bulk_changes import bulk_changes
from dhtwisted.logs.audit import LONGEST
from dhtwisted.model import (
    ADMINISTRATOR,
    Claims,
    EntityQuery,
    MqttQueued,
    MqttReceived,
    MqttSession,
    Raised,
    User,
    fold_login,
)
from dhtwisted.wire.timestamps import format_timestamp


def new_user(settings: Any, now: int, login: str, password_record: str, role: int, **fields: Any) -> User:
    """Make a user who is to be inserted.

    Tokens count from ``now`` on. A deleted user may have had the same id, as happens after a move to another storage: their tokens are
    older. A DeviceHive auth service with the same signing key does not know this rule, so its tokens count from the beginning.

    :param settings: the whole configuration.
    :param now: milliseconds.
    :param password_record: what the auth provider's ``hash_password`` returns.
    :param fields: more fields of the user.
    """
    shares_tokens = settings.compatibility.secret_encoding == "base64-lenient"
    valid_from = 0 if shares_tokens else now
    return User(login=login, login_key=fold_login(login), password=password_record, role=role, valid_from=valid_from, **fields)


async def change_user(entities: AnyEntities, user: User, changes: dict[str, Any]) -> User:
    """Change a user. If the change ends their tokens, delete the records of the tokens that have ended.

    :param changes: as ``IEntityStorage.update`` takes them. A change that ends tokens has :class:`~dhtwisted.model.Raised` as
        ``valid_from``.
    :returns: the user after the change.
    :raises Duplicate: the login is taken.
    :raises Missing: the user was deleted.
    """
    raised = changes.get("valid_from")
    records = [] if raised is None else await records_of_user(entities, user.id)
    after = await entities.update(User, user.id, changes)
    if isinstance(raised, Raised) and raised.when:
        # This change may have raised nothing. What is newer than the last rise is valid.
        is_raised = after.valid_from != user.valid_from
        records = [record for record in records if is_raised and record.created <= after.valid_from]
    await delete_records(entities, records)
    return after


async def delete_user(entities: AnyEntities, user: User) -> bool:
    """Delete a user, the records of their tokens, and their MQTT sessions with all that waits for these.

    :returns: whether the user was there.
    """
    found = await entities.delete(User, user.id)
    await delete_records(entities, await records_of_user(entities, user.id))
    await _delete_sessions(entities, user.id)
    return found


async def _delete_sessions(entities: AnyEntities, user_id: int) -> None:
    changes = bulk_changes(entities)
    sessions = await entities.find(MqttSession, EntityQuery(equal={"user_id": user_id}))
    await changes.change_many([], [(MqttSession, session.id) for session in sessions])
    for session in sessions:
        for kind in (MqttQueued, MqttReceived):
            await changes.remove_group(kind, session.id)


def login_claims(user: User, longest_list: int) -> Claims:
    """All rights of a user, without times.

    :param longest_list: how many networks and device types a token may name (``limits.token_ids``); 0 for any number. If the user has
        more, the token names all, and the user's own lists count when the token is used.
    """
    if user.role == ADMINISTRATOR:
        return Claims(user_id=user.id, actions=frozenset({Permission.ANY}), network_ids=EVERYTHING, device_type_ids=EVERYTHING, expires=0)
    networks = frozenset(map(str, user.network_ids))
    types = EVERYTHING if user.all_device_types_available else frozenset(map(str, user.device_type_ids))
    claims = Claims(user_id=user.id, actions=CLIENT_PERMISSIONS, network_ids=networks, device_type_ids=types, expires=0)
    if longest_list and claims.size > longest_list:
        claims = replace(claims, network_ids=EVERYTHING, device_type_ids=EVERYTHING)
    return claims


def audited_rights(claims: Claims) -> dict[str, Any]:
    """Members of a record of the audit log that say what a token permits."""
    rights = claims.actions
    names = None if rights is None else "*" if Permission.ANY in rights else sorted(Permission(right).wire_name for right in rights)
    return {
        "for": claims.user_id,
        "rights": names,
        "networks": _sorted(claims.network_ids),
        "deviceTypes": _sorted(claims.device_type_ids),
        "expires": f"{format_timestamp(max(claims.expires, 0))}Z",
    } | ({} if claims.device_id is None else {"device": claims.device_id[:LONGEST], "token": claims.token_id})


def _sorted(ids: frozenset[str] | None) -> list[str] | None:
    return None if ids is None else sorted(ids)

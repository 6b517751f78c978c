"""Tokens that are valid for one device alone: creating them, ``token/list`` and ``token/revoke``. DeviceHive has nothing of the kind."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import UNSET, Meta, Raw

from dhtwisted.actions.audit import Written
from dhtwisted.actions.lists import answer_list, entity_pages
from dhtwisted.actions.lookups import plain_query
from dhtwisted.actions.table import Route, action
from dhtwisted.core.access import Permission
from dhtwisted.core.device_tokens import bind_claims, new_record
from dhtwisted.core.rules import check_label, check_new_device_id
from dhtwisted.core.server import Request, Server
from dhtwisted.errors import (
    AccessDenied,
    DeviceTokenNotFound,
    MissingTokenId,
    QuotaExceeded,
)
from dhtwisted.model import Claims, Device, DeviceToken
from dhtwisted.wire.fields import Fields, Integer
from dhtwisted.wire.members import DeviceId, More, Skip, TakeOfAll, Time
from dhtwisted.wire.resources import Resource
from dhtwisted.wire.timestamps import format_timestamp

_ALL = Raw(b'"*"')


def fill_for_device(payload: Any) -> None:
    """Fill in what a request for a device token leaves out: it means all rights on the device."""
    if payload.actions is None:
        payload.actions = [_ALL]
    if payload.network_ids is None:
        payload.network_ids = ["*"]
    if payload.device_type_ids is None:
        payload.device_type_ids = ["*"]


async def bind(request: Request, claims: Claims, expires: int) -> Claims:
    """Restrict claims to one device, and store a record of them.

    :param expires: milliseconds: when the last token of these claims ends.
    :raises AccessDenied: the caller may not use the device.
    """
    server, payload, entities = request.server, request.fields.payload, request.server.entities
    device_id = payload.device_id
    check_new_device_id(device_id)
    check_label(payload.label)
    device = await entities.get(Device, device_id)
    if device is not None and not request.principal.sees(device.network_id, device.device_type_id, device_id):
        raise AccessDenied()
    await server.expired_tokens.forget("device_id", device_id)
    record = new_record(device_id, claims.user_id, server.now(), expires, payload.label)
    try:
        return bind_claims(claims, await _insert(server, record))
    except QuotaExceeded:
        if not await server.expired_tokens.forget("user_id", claims.user_id):
            raise
    return bind_claims(claims, await _insert(server, record))


async def _insert(server: Server, record: DeviceToken) -> DeviceToken:
    async with server.quotas.keeping(record.user_id, device_tokens=1):
        inserted: DeviceToken = await server.entities.insert(record)
        return inserted


class TokenList(Fields, tag="token/list"):
    """``deviceId``: of this device alone; and a page: ``take``, ``skip``."""

    device_id: Annotated[str | None, Meta(description="only tokens for this device. Default: for any")] = None
    take: TakeOfAll | None = None
    skip: Skip | None = None


class DeviceTokenResource(Resource):
    """What is kept of a pair of tokens for one device; never the tokens themselves."""

    id: Annotated[int, Meta(description="id of the tokens, for `token/revoke`")]
    device_id: DeviceId
    user_id: Annotated[int, Meta(description="id of the user")]
    label: Annotated[str | None, Meta(description="the name that was given to them")]
    created: Annotated[Time, Meta(description="when they were created")]
    expires: Annotated[Time, Meta(description="when the last of them expires")]

    @classmethod
    def of(cls, record: DeviceToken) -> DeviceTokenResource:
        """Present a record."""
        return cls(
            id=record.id,
            device_id=record.device_id,
            user_id=record.user_id,
            label=record.label,
            created=format_timestamp(record.created),
            expires=format_timestamp(record.expires),
        )


class DeviceTokens(Resource):
    """The reply's member."""

    tokens: Annotated[list[DeviceTokenResource], Meta(description="the records of tokens for one device, the oldest first")]
    more: More = UNSET


@action(TokenList, Permission.MANAGE_TOKEN, rest=Route("GET", "/token"))
async def token_list(request: Request[TokenList]) -> DeviceTokens:
    """List the tokens of devices: those that the user made; for an administrator, all of them."""

    async def conditions() -> dict[str, Any]:
        equal: dict[str, Any] = {} if request.fields.device_id is None else {"device_id": request.fields.device_id}
        if not request.principal.is_administrator:
            equal["user_id"] = request.principal.user_id
        return {"equal": equal}

    query = plain_query(request, sort="created", **await conditions())
    pages = entity_pages(request, DeviceToken, query, conditions)
    return await answer_list(request, pages, DeviceTokenResource.of, lambda tokens, more: DeviceTokens(tokens=tokens, more=more))


class TokenRevoke(Fields, tag="token/revoke"):
    """``tokenId``, as ``token/list`` has it."""

    token_id: Annotated[Integer | None, Meta(description="an id from `token/list`")] = None


@action(TokenRevoke, Permission.MANAGE_TOKEN, rest=Route("DELETE", "/token/{tokenId}"), audit=Written(DeviceToken, "fields.token_id"))
async def token_revoke(request: Request[TokenRevoke]) -> None:
    """Revoke the tokens of one record, at once and for good, on open connections too."""
    token_id, principal = request.fields.token_id, request.principal
    if token_id is None:
        raise MissingTokenId()
    record = await request.server.entities.get(DeviceToken, token_id)
    if record is None or (record.user_id != principal.user_id and not principal.is_administrator):
        raise DeviceTokenNotFound(token_id)
    await request.server.entities.delete(DeviceToken, token_id)

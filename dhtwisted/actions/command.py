"""Commands: ``command/insert``, ``get``, ``list``, ``update`` (WebSocket reference, section 3.5)."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Annotated, Any

from msgspec import UNSET, Meta

from dhtwisted.actions.lists import answer_messages, message_pages
from dhtwisted.actions.lookups import (
    accessible_device,
    cached_device,
    message_query,
    when_found,
    writable_device,
)
from dhtwisted.actions.table import Route, action
from dhtwisted.core import messages
from dhtwisted.core.access import Permission
from dhtwisted.core.batches import Batch, Batching
from dhtwisted.core.event_kinds import COMMAND_INSERTED, COMMAND_UPDATED
from dhtwisted.core.rules import check_name, check_text
from dhtwisted.core.server import Request
from dhtwisted.errors import CommandNotFound, MissingCommand, MissingCommandChange, MissingCommandId
from dhtwisted.model import Command, Device
from dhtwisted.wire.envelope import reply_form
from dhtwisted.wire.fields import ABSENT, Fields, Integer, Members, Timestamp
from dhtwisted.wire.members import (
    LIFETIME,
    REQUIRED,
    CommandId,
    DeviceId,
    LastUpdated,
    MessageName,
    MessageNames,
    MessageOrder,
    MessageSkip,
    MessageTake,
    More,
    OwnTime,
    Payload,
    Result,
    ShortText,
)
from dhtwisted.wire.payloads import payload
from dhtwisted.wire.resources import CommandResource, Resource
from dhtwisted.wire.timestamps import format_in_ascii, format_timestamp


class NewCommand(Members):
    """A new command."""

    command: Annotated[MessageName | None, Meta(description="name of the command"), REQUIRED] = None
    parameters: Payload = ABSENT
    lifetime: Annotated[Integer | None, LIFETIME] = None
    status: Annotated[ShortText | None, Meta(description="the first status")] = None
    result: Result = ABSENT
    timestamp: Annotated[
        Timestamp | None,
        Meta(
            description="the command's own time, such as the time of a measurement; it may be long ago. It is also the first "
            "`lastUpdated`. If it is absent, or more than a minute ahead of the server, the server uses its own time"
        ),
    ] = None


class CommandInsert(Fields, tag="command/insert"):
    """``deviceId`` and ``command``."""

    device_id: Annotated[DeviceId | None, REQUIRED] = None
    command: Annotated[NewCommand | None, Meta(description="the command"), REQUIRED] = None


class InsertedCommandResource(Resource):
    """The members that the server added; exactly these."""

    id: Annotated[int, Meta(description="id of the command")]
    timestamp: OwnTime
    last_updated: LastUpdated
    user_id: Annotated[int | None, Meta(description="id of the user who inserted it")]


class InsertedCommand(Resource):
    """The reply's member."""

    command: Annotated[InsertedCommandResource, Meta(description="the command")]


def _new_command(request: Request | Batch, fields: Any, device: Device) -> Command:
    """The command that is to be inserted, from a request that is checked here."""
    new = fields.command
    if new is None:
        raise MissingCommand()
    check_name(new.command, MissingCommand, "command.command")
    check_text(new.status, "command.status")
    return Command(
        name=new.command,
        device_id=device.id,
        network_id=device.network_id,
        device_type_id=device.device_type_id,
        user_id=request.principal.user_id,
        parameters=payload(new.parameters, "command.parameters"),
        lifetime=new.lifetime,
        status=new.status,
        result=payload(new.result, "command.result"),
        timestamp=None if new.timestamp is None else request.server.time_of_new(new.timestamp),
    )


_INSERTED = reply_form("command/insert", b'"command":{"id":%d,"timestamp":"%b","lastUpdated":"%b","userId":%d}')


def _encoded_replies(requests: Sequence[Fields], commands: Sequence[Any]) -> list[bytes]:
    """The whole replies whose members :func:`_reply_insert` makes, at a third of the price."""
    return [
        _INSERTED
        % (fields.request_id, command.id, format_in_ascii(command.timestamp), format_in_ascii(command.last_updated), command.user_id)
        for fields, command in zip(requests, commands, strict=True)
    ]


@action(
    CommandInsert,
    Permission.CREATE_DEVICE_COMMAND,
    rest=Route("POST", "/device/{deviceId}/command", body="command", status=201),
    overlaps=True,
    batching=Batching(COMMAND_INSERTED, _new_command, _encoded_replies),
)
def command_insert(request: Request[CommandInsert]) -> InsertedCommand | Awaitable[InsertedCommand]:
    """Send a command to a device. The reply is sent when the command is stored, and so is the event to subscribers."""
    device = cached_device(request, request.fields.device_id)
    return when_found(writable_device, request, _insert) if device is None else _insert(request, device)


def _insert(request: Request, device: Device) -> InsertedCommand | Awaitable[InsertedCommand]:
    return messages.insert(request, COMMAND_INSERTED, _new_command(request, request.fields, device), _reply_insert)


def _reply_insert(command: Command) -> InsertedCommand:
    return InsertedCommand(
        command=InsertedCommandResource(
            id=command.id,
            timestamp=format_timestamp(command.timestamp),
            last_updated=format_timestamp(command.last_updated),
            user_id=command.user_id,
        )
    )


class CommandGet(Fields, tag="command/get"):
    """``deviceId`` and ``commandId``; ``returnUpdatedCommands``: only if it has been updated."""

    device_id: Annotated[DeviceId | None, REQUIRED] = None
    command_id: Annotated[CommandId | None, REQUIRED] = None
    return_updated_commands: Annotated[bool | None, Meta(description="only if it has been updated")] = None


class OneCommand(Resource):
    """The reply's member."""

    command: Annotated[CommandResource, Meta(description="the command")]


@action(CommandGet, Permission.GET_DEVICE_COMMAND, rest=Route("GET", "/device/{deviceId}/command/{commandId}", bad_id=400))
async def command_get(request: Request[CommandGet]) -> OneCommand:
    """Read one command."""
    fields = request.fields
    device = await accessible_device(request, fields.device_id)
    if fields.command_id is None:
        raise MissingCommandId()
    command = await request.server.messages.get_message(Command, device.id, fields.command_id)
    if command is None or (fields.return_updated_commands and not command.updated):
        raise CommandNotFound(fields.command_id)
    return OneCommand(command=CommandResource.of(command))


class CommandList(Fields, tag="command/list"):
    """``deviceId``, and which: ``start`` and ``end`` (exclusive), ``command`` (one name) or ``names``, ``status``, ``returnUpdated``."""

    device_id: Annotated[DeviceId | None, REQUIRED] = None
    start: Annotated[Timestamp | None, Meta(description="only later than this")] = None
    end: Annotated[Timestamp | None, Meta(description="only earlier than this")] = None
    command: Annotated[str | None, Meta(description="only with this name; `names` is ignored then")] = None
    names: MessageNames | None = None
    status: Annotated[str | None, Meta(description="only with this status, in upper or lower case")] = None
    return_updated: Annotated[bool | None, Meta(description="only commands that have been updated")] = None
    sort_field: Annotated[
        str | None, Meta(description="what to sort by", extra_json_schema={"enum": ["timestamp", "command", "status"]})
    ] = None
    sort_order: MessageOrder | None = None
    take: MessageTake | None = None
    skip: MessageSkip | None = None


class Commands(Resource):
    """The reply's member."""

    commands: Annotated[list[CommandResource], Meta(description="the commands")]
    more: More = UNSET


SORT_FIELDS = {"timestamp": "timestamp", "command": "name", "status": "status"}


@action(CommandList, Permission.GET_DEVICE_COMMAND, rest=Route("GET", "/device/{deviceId}/command"))
async def command_list(request: Request[CommandList]) -> Commands:
    """List commands of a device: filtered, then sorted, then cut to ``skip`` and ``take``."""
    fields = request.fields
    await accessible_device(request, fields.device_id)
    names = (fields.command,) if fields.command else tuple(fields.names or ())
    query = message_query(request, SORT_FIELDS, names=names or None, status=fields.status or None, updated=fields.return_updated or False)
    pages = message_pages(request, Command, query, accessible_device)
    return await answer_messages(request, pages, lambda found, more: Commands(commands=found, more=more))


class CommandChange(Members):
    """What became of a command. Absent members stay as they are."""

    status: Annotated[ShortText | None, Meta(description="status of the command, any text. Unchanged if absent")] = None
    result: Annotated[Result, Meta(description="any JSON: the result of the command. Unchanged if absent")] = ABSENT


class CommandUpdate(Fields, tag="command/update"):
    """``deviceId``, ``commandId`` and ``command``."""

    device_id: Annotated[DeviceId | None, REQUIRED] = None
    command_id: Annotated[CommandId | None, REQUIRED] = None
    command: Annotated[CommandChange | None, Meta(description="the change of the command"), REQUIRED] = None


def _change(_: Request | Batch, fields: Any, device: Device) -> messages.Change:
    """The change that is to be made, from a request that is checked here."""
    if fields.command_id is None:
        raise MissingCommandId()
    if fields.command is None:
        raise MissingCommandChange()
    check_text(fields.command.status, "command.status")
    status, result = fields.command.status, payload(fields.command.result, "command.result")
    changes: dict[str, str | bytes] = {} if status is None else {"status": status}
    if result is not None:
        changes["result"] = result
    return messages.Change(device.id, fields.command_id, changes)


_UPDATED = reply_form("command/update")


def _encoded_successes(requests: Sequence[Fields], _: Sequence[Any]) -> list[bytes]:
    return [_UPDATED % fields.request_id for fields in requests]


@action(
    CommandUpdate,
    Permission.UPDATE_DEVICE_COMMAND,
    rest=Route("PUT", "/device/{deviceId}/command/{commandId}", body="command", bad_id=400, object_first=True),
    overlaps=True,
    batching=Batching(COMMAND_UPDATED, _change, _encoded_successes),
)
def command_update(request: Request[CommandUpdate]) -> Awaitable[None] | None:
    """Report what became of a command. One ``command/update`` event follows, also if nothing changed (section 4.4)."""
    device = cached_device(request, request.fields.device_id)
    return when_found(accessible_device, request, _update) if device is None else _update(request, device)


def _update(request: Request[CommandUpdate], device: Device) -> Awaitable[None] | None:
    fields = request.fields
    if fields.command is None and fields.command_id is not None:
        return _refuse(request, device, fields.command_id)
    return messages.update_command(request, _change(request, fields, device))


async def _refuse(request: Request[CommandUpdate], device: Device, command_id: int) -> None:
    """Refuse an update without a change. Over REST, a command that does not exist is refused first."""
    if request.session.conventions.object_first and await request.server.messages.get_message(Command, device.id, command_id) is None:
        raise CommandNotFound(command_id)
    raise MissingCommandChange()

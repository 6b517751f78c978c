"""What networks and device types have in common: both group devices, and users need access to them (WebSocket reference, section 3.8)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from msgspec import Meta, Struct

from dhtwisted.actions.device import delete_device
from dhtwisted.actions.lists import Make, answer_list, entity_pages
from dhtwisted.actions.lookups import entity_query
from dhtwisted.core.entity_cache import EntityCache
from dhtwisted.core.rules import LONGEST, check_group, check_text
from dhtwisted.core.server import Request
from dhtwisted.errors import AccessDenied, ApiError, Duplicate, Missing, SpecifiedId, WrongLength
from dhtwisted.model import Device, EntityQuery, User, Without
from dhtwisted.wire.fields import Integer, Members
from dhtwisted.wire.members import REQUIRED, Description, Label
from dhtwisted.wire.resources import Count, GroupResource, GroupWithDevices, NestedDeviceResource

SORT_FIELDS = {"id": "id", "name": "name"}


class NewGroup(Members):
    """A new network or device type."""

    id: Annotated[Integer | None, Meta(description="must be absent", extra_json_schema={"const": None})] = None
    name: Annotated[Label | None, Meta(description="the name; no other one may have it"), REQUIRED] = None
    description: Annotated[Description | None, Meta(description="any text")] = None


class GroupChange(Members):
    """A change of a network or device type. Absent members stay as they are."""

    name: Annotated[Label | None, Meta(description="the name; no other one may have it. Unchanged if absent")] = None
    description: Annotated[Description | None, Meta(description="any text. Unchanged if absent")] = None


@dataclass(frozen=True)
class Grouping:
    """One of the two.

    :ivar kind: ``Network`` or ``DeviceType``.
    :ivar member: the member of a request that is the object.
    :ivar device_field: the field of a device that says where it belongs.
    :ivar user_field: the field of a user that holds the assigned ones.
    :ivar accessible: principal -> ids of those that they may use; ``None`` for all.
    :ivar named: principal -> ids of those that their token names; ``None`` for all.
    :ivar quota: the quota of those that a user makes.
    :ivar not_found: error class that takes an id.
    :ivar missing_id: error class for a request without an id.
    :ivar missing: error class for a request without the object.
    :ivar name_taken: error class for a name that another one has.
    :ivar not_empty: error class that takes the ids of devices.
    """

    kind: type
    member: str
    device_field: str
    user_field: str
    accessible: Callable
    named: Callable
    quota: str
    not_found: Callable[[int | None], ApiError]
    missing_id: type[ApiError]
    missing: type[ApiError]
    name_taken: type[ApiError]
    not_empty: Callable[[list[str]], ApiError]

    async def accessible_one(self, request: Request, group_id: int | None) -> Any:
        """Find one that the caller may use.

        :raises ApiError: there is no id (400); the token does not name it (403); it does not exist, or the user may not use it (404).
        """
        if group_id is None:
            raise self.missing_id()
        named, ids = self.named(request.principal), self.accessible(request.principal)
        if named is not None and group_id not in named:
            raise AccessDenied()
        group = await request.server.entities.get(self.kind, group_id)
        if group is None or (ids is not None and group_id not in ids):
            raise self.not_found(group_id)
        return group

    async def list(self, request: Request, make: Make) -> Any:
        """The answer to a list request.

        :param make: as of :func:`~dhtwisted.actions.lists.answer_list`.
        """
        query = entity_query(request, SORT_FIELDS, **await self._conditions(request))
        pages = entity_pages(request, self.kind, query, partial(self._conditions, request))
        return await answer_list(request, pages, GroupResource.of, make)

    async def count(self, request: Request) -> Count:
        """How many a count request asks for."""
        return Count(count=await request.server.entities.count(self.kind, EntityQuery(**await self._conditions(request))))

    async def _conditions(self, request: Request) -> dict[str, Any]:
        fields = request.fields
        check_text(fields.name_pattern, "namePattern")
        ids = self.accessible(request.principal)
        return {
            "equal": {} if fields.name is None else {"name": fields.name},
            "like": {} if fields.name_pattern is None else {"name": fields.name_pattern},
            "within": {} if ids is None else {"id": ids},
        }

    async def with_devices(self, request: Request, group_id: int | None, make: Callable[[GroupWithDevices], Struct]) -> Any:
        """Present one with those of its devices that the caller may use; with ``compatibility.loose_token_lists`` with all of them.

        :param make: called with a ``GroupWithDevices``; gives the reply.
        """
        group = await self.accessible_one(request, group_id)

        async def conditions() -> dict[str, Any]:
            await self.accessible_one(request, group_id)
            principal = request.principal
            within = {"network_id": principal.networks(), "device_type_id": principal.device_types()}
            if request.server.settings.compatibility.loose_token_lists:
                within = {}
            within[self.device_field] = frozenset({group_id})
            return {"within": {field: ids for field, ids in within.items() if ids is not None}}

        def with_devices(devices: Any, more: Any) -> Struct:
            return make(GroupWithDevices(id=group.id, name=group.name, description=group.description, devices=devices, more=more))

        pages = entity_pages(request, Device, EntityQuery(**await conditions()), conditions)
        return await answer_list(request, pages, NestedDeviceResource.of, with_devices)

    async def insert(self, request: Request, new: NewGroup | None) -> Any:
        """Make one; returns it."""
        if new is None:
            raise self.missing()
        if new.id is not None:
            raise SpecifiedId(detail=f"{self.member}.id must be left out; the server chooses it")
        check_group(new.name, new.description, self.member)
        if new.name is None:
            raise WrongLength(f"{self.member}.name", 1, LONGEST)
        user_id = request.principal.user_id
        try:
            async with request.server.quotas.keeping(user_id, **{self.quota: 1}):
                return await request.server.entities.insert(self.kind(name=new.name, description=new.description, owner_id=user_id))
        except Duplicate:
            raise self.name_taken() from None

    async def update(self, request: Request, group_id: int | None, change: GroupChange | None) -> None:
        """Change the given members of one."""
        group = await self.accessible_one(request, group_id)
        if change is None:
            raise self.missing()
        check_group(change.name, change.description, self.member)
        changes = {name: value for name in ("name", "description") if (value := getattr(change, name)) is not None}
        try:
            await request.server.entities.update(self.kind, group.id, changes)
        except Duplicate:
            raise self.name_taken() from None
        except Missing:
            raise self.not_found(group_id) from None

    async def delete(self, request: Request, group_id: int | None, force: bool | None) -> None:
        """Remove one, with ``force`` its devices before it.

        Children first and the group last, so that after a crash in the middle the same request ends the work. A device that is saved into
        the group while it is being removed is caught by looking again at the end: it goes too, as if it had been there before.
        """
        group = await self.accessible_one(request, group_id)
        entities = request.server.entities
        inside = EntityQuery(equal={self.device_field: group.id})
        found = await entities.find(Device, inside)
        if found and not force:
            raise self.not_empty([device.id for device in found])
        while found:
            for device in found:
                await delete_device(request.server, device.id)
            found = await entities.find(Device, inside)
        for user in await entities.find(User, EntityQuery()):
            if group.id in getattr(user, self.user_field):
                await self._unassign(entities, user, group)
        await entities.delete(self.kind, group.id)
        for device in await entities.find(Device, inside):
            await delete_device(request.server, device.id)

    async def _unassign(self, entities: EntityCache, user: User, group: Any) -> None:
        try:
            await entities.update(User, user.id, {self.user_field: Without(frozenset({group.id}))})
        except Missing:
            # The user was deleted meanwhile, and the assignment too.
            return

"""Configuration: ``configuration/get``, ``put``, ``delete``: named texts that clients keep here (WebSocket reference, section 3.3)."""

from __future__ import annotations

from typing import Annotated, Self

from msgspec import Meta

from dhtwisted.actions.audit import Written
from dhtwisted.actions.table import WHOLE, Route, action
from dhtwisted.core.access import Permission
from dhtwisted.core.rules import SECRET_NAME, check_configuration, check_configuration_name, check_text
from dhtwisted.core.server import Request
from dhtwisted.errors import (
    ConfigurationNotFound,
    Duplicate,
    Missing,
    MissingConfigurationName,
    ObjectChanged,
)
from dhtwisted.model import Configuration, EntityQuery
from dhtwisted.wire.fields import Fields
from dhtwisted.wire.members import REQUIRED, ConfigurationName, Label
from dhtwisted.wire.resources import Resource

HIDDEN = "********"
PATH = "/configuration/{name}"


class ConfigurationResource(Resource):
    """One of them; ``entityVersion`` counts its changes (section 5.8)."""

    id: Annotated[int, Meta(description="its id")]
    name: Annotated[str, Meta(description="the name")]
    value: Annotated[str, Meta(description="the value")]
    entity_version: Annotated[int, Meta(description="how often it was changed")]


class OneConfiguration(Resource):
    """The reply's member."""

    configuration: Annotated[ConfigurationResource, Meta(description="the name and the value")]

    @classmethod
    def of(cls, entity: Configuration) -> Self:
        """Present a stored one."""
        resource = ConfigurationResource(id=entity.id, name=entity.name, value=entity.value, entity_version=entity.entity_version)
        return cls(configuration=resource)


class ConfigurationGet(Fields, tag="configuration/get"):
    """``name``."""

    name: Annotated[ConfigurationName | None, REQUIRED] = None


@action(ConfigurationGet, Permission.MANAGE_CONFIGURATION, rest=Route("GET", PATH))
async def configuration_get(request: Request[ConfigurationGet]) -> OneConfiguration:
    """Read one. ``jwt.secret`` is hidden unless ``compatibility.show_secret`` shows the signing key, as the reference server does."""
    name, server = request.fields.name, request.server
    if name == SECRET_NAME:
        value = (server.auth.secret if server.settings.compatibility.show_secret else None) or HIDDEN
        return OneConfiguration.of(Configuration(name=name, value=value, entity_version=0))
    return OneConfiguration.of(await _find(request, name))


class ConfigurationPut(Fields, tag="configuration/put"):
    """``name`` of 1 to 32 characters, ``value`` of 1 to 128."""

    name: Annotated[ConfigurationName | None, REQUIRED] = None
    value: Annotated[Label | None, Meta(description="the value"), REQUIRED] = None


@action(
    ConfigurationPut,
    Permission.MANAGE_CONFIGURATION,
    rest=Route("PUT", PATH, body=WHOLE),
    audit=Written(Configuration, "fields.name", "name"),
)
async def configuration_put(request: Request) -> OneConfiguration:
    """Create or replace one."""
    fields, entities = request.fields, request.server.entities
    check_configuration(fields.name, fields.value)
    try:
        return OneConfiguration.of(await entities.insert(Configuration(name=fields.name, value=fields.value)))
    except Duplicate:
        # It is there already: this is a change of it.
        found = await _find(request, fields.name)
    try:
        changes = {"value": fields.value, "entity_version": found.entity_version + 1}
        return OneConfiguration.of(await entities.update(Configuration, found.id, changes))
    except Missing:
        raise ObjectChanged() from None


class ConfigurationDelete(Fields, tag="configuration/delete"):
    """``name``."""

    name: Annotated[ConfigurationName | None, REQUIRED] = None


@action(
    ConfigurationDelete, Permission.MANAGE_CONFIGURATION, rest=Route("DELETE", PATH), audit=Written(Configuration, "fields.name", "name")
)
async def configuration_delete(request: Request[ConfigurationDelete]) -> None:
    """Delete one."""
    check_configuration_name(request.fields.name)
    found = await _find(request, request.fields.name)
    if not await request.server.entities.delete(Configuration, found.id):
        raise ConfigurationNotFound(found.name)


async def _find(request: Request, name: str | None) -> Configuration:
    if not name:
        raise MissingConfigurationName()
    check_text(name, "name")
    found = await request.server.entities.find(Configuration, EntityQuery(equal={"name": name}))
    if not found:
        raise ConfigurationNotFound(name)
    return found[0]

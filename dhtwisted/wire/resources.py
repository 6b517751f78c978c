"""What the server keeps, as clients see it: names, order and nulls of the wire (WebSocket reference, section 5)."""

from __future__ import annotations

from msgspec import UNSET, Raw, Struct, UnsetType

from dhtwisted.model import Command, Device, DeviceType, Network, Notification, User
from dhtwisted.wire.fields import NULL
from dhtwisted.wire.timestamps import format_timestamp

More = bool | UnsetType
"""Of what has a list in it: true when the list was cut; else it is not there. Its member is called ``more``."""


class Resource(Struct, rename="camel", kw_only=True, gc=False):
    """Base of what is sent. Members without a value are sent as ``null``: the Python client reads them by index."""


class Count(Resource):
    """How many there are."""

    count: int


class CommandResource(Resource):
    """A command, whole (section 5.3)."""

    id: int
    command: str
    timestamp: str
    last_updated: str
    user_id: int | None
    device_id: str
    network_id: int
    device_type_id: int
    parameters: Raw
    lifetime: int | None
    status: str | None
    result: Raw

    @classmethod
    def of(cls, command: Command):
        """Present a stored command."""
        return cls(
            id=command.id,
            command=command.name,
            timestamp=format_timestamp(command.timestamp),
            last_updated=format_timestamp(command.last_updated),
            user_id=command.user_id,
            device_id=command.device_id,
            network_id=command.network_id,
            device_type_id=command.device_type_id,
            parameters=_json(command.parameters),
            lifetime=command.lifetime,
            status=command.status,
            result=_json(command.result),
        )


class NotificationResource(Resource):
    """A notification, whole (section 5.4)."""

    id: int
    notification: str
    device_id: str
    network_id: int
    device_type_id: int
    timestamp: str
    parameters: Raw

    @classmethod
    def of(cls, notification: Notification):
        """Present a stored notification."""
        return cls(
            id=notification.id,
            notification=notification.name,
            device_id=notification.device_id,
            network_id=notification.network_id,
            device_type_id=notification.device_type_id,
            timestamp=format_timestamp(notification.timestamp),
            parameters=NULL if notification.parameters is None else Raw(notification.parameters),
        )


class DeviceResource(Resource):
    """A device (section 5.2)."""

    id: str
    name: str
    data: Raw
    network_id: int
    device_type_id: int
    is_blocked: bool

    @classmethod
    def of(cls, device: Device):
        """Present a stored device."""
        return cls(
            id=device.id,
            name=device.name,
            data=_json(device.data),
            network_id=device.network_id,
            device_type_id=device.device_type_id,
            is_blocked=device.is_blocked,
        )


class DatalessDeviceResource(Resource):
    """A device in a ``$device-update`` that did not change its ``data``."""

    id: str
    name: str
    network_id: int
    device_type_id: int
    is_blocked: bool

    @classmethod
    def of(cls, device: Device):
        """Present a stored device."""
        return cls(**{name: getattr(device, name) for name in cls.__struct_fields__})


class NestedDeviceResource(Resource):
    """A device inside its network or device type (section 5.2)."""

    id: str
    name: str
    data: Raw
    is_blocked: bool

    @classmethod
    def of(cls, device: Device):
        """Present a stored device."""
        return cls(id=device.id, name=device.name, data=_json(device.data), is_blocked=device.is_blocked)


class GroupResource(Resource):
    """A network or device type (section 5.5)."""

    id: int
    name: str
    description: str | None

    @classmethod
    def of(cls, group: Network | DeviceType):
        """Present a stored one."""
        return cls(id=group.id, name=group.name, description=group.description)


class GroupWithDevices(GroupResource):
    """A network or device type, and those of its devices that the caller may use."""

    devices: list[NestedDeviceResource]
    more: More = UNSET


class IdResource(Resource):
    """Something new, by its id alone."""

    id: int


class InsertedUserResource(Resource):
    """What is told of a new user; exactly these members (section 5.7)."""

    id: int
    last_login: str | None
    data: Raw
    intro_reviewed: bool
    all_device_types_available: bool

    @classmethod
    def of(cls, user: User):
        """Present a stored user."""
        return cls(**_of_new_user(user))


class UserResource(InsertedUserResource):
    """A user. ``role``: 0 administrator, 1 client; ``status``: 0 active, 1 locked out, 2 disabled."""

    login: str
    role: int
    status: int

    @classmethod
    def of(cls, user: User):
        """Present a stored user."""
        return cls(login=user.login, role=user.role, status=user.status, **_of_new_user(user))


class QuotaUse(Resource):
    """How much there is of what a quota counts, and how much there may be. Our own."""

    used: int
    limit: int | None


class UserWithNetworks(UserResource):
    """A user, the networks that are assigned to him, and his quotas."""

    networks: list[GroupResource]
    quotas: dict[str, QuotaUse]
    more: More = UNSET

    @classmethod
    def with_networks(cls, user: User, networks, more, quotas):
        """Present a stored user.

        :param networks: a list of :class:`GroupResource`, as they are or as JSON.
        :param more: true when there are more networks, else ``UNSET``.
        :param quotas: name -> :class:`QuotaUse`.
        """
        listed = {"networks": networks, "more": more, "quotas": quotas}
        return cls(login=user.login, role=user.role, status=user.status, **listed, **_of_new_user(user))


def _of_new_user(user):
    return {
        "id": user.id,
        "last_login": None if user.last_login is None else format_timestamp(user.last_login),
        "data": _json(user.data),
        "intro_reviewed": user.intro_reviewed,
        "all_device_types_available": user.all_device_types_available,
    }


def _json(payload):
    return NULL if payload is None else Raw(payload)

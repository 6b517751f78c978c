"""The objects of the API, as clients see them: names, order and nulls (WebSocket reference, section 5)."""

from __future__ import annotations

from typing import Annotated, Any, Self

from msgspec import UNSET, Meta, Raw, Struct

from dhtwisted.model import Command, Device, DeviceType, Network, Notification, User
from dhtwisted.wire.fields import NULL
from dhtwisted.wire.members import LIFETIME, ClientData, DeviceId, IntroReviewed, LastUpdated, More, OwnTime, Payload, Result, Time
from dhtwisted.wire.timestamps import format_timestamp


class Resource(Struct, rename="camel", kw_only=True, gc=False):
    """Base of all objects and replies. Members without a value are sent as ``null``, since the Python client reads all members."""


class Count(Resource):
    """How many there are."""

    count: Annotated[int, Meta(description="how many there are")]


class CommandResource(Resource):
    """A command, whole (section 5.3)."""

    id: Annotated[int, Meta(description="id of the command")]
    command: Annotated[str, Meta(description="name of the command")]
    timestamp: OwnTime
    last_updated: LastUpdated
    user_id: Annotated[int | None, Meta(description="id of the user who inserted it")]
    device_id: DeviceId
    network_id: Annotated[int, Meta(description="id of the network")]
    device_type_id: Annotated[int, Meta(description="id of the device type")]
    parameters: Payload
    lifetime: Annotated[int | None, LIFETIME]
    status: Annotated[str | None, Meta(description="status of the command, any text")]
    result: Result

    @classmethod
    def of(cls, command: Command) -> Self:
        """What clients see of a stored command."""
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

    id: Annotated[int, Meta(description="id of the notification")]
    notification: Annotated[str, Meta(description="name of the notification")]
    device_id: DeviceId
    network_id: Annotated[int, Meta(description="id of the network")]
    device_type_id: Annotated[int, Meta(description="id of the device type")]
    timestamp: OwnTime
    parameters: Payload

    @classmethod
    def of(cls, notification: Notification) -> Self:
        """What clients see of a stored notification."""
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

    id: Annotated[str, Meta(description="id of the device")]
    name: Annotated[str, Meta(description="the name")]
    data: ClientData
    network_id: Annotated[int, Meta(description="id of the network")]
    device_type_id: Annotated[int, Meta(description="id of the device type")]
    is_blocked: Annotated[bool, Meta(description="whether the device is blocked")]

    @classmethod
    def of(cls, device: Device) -> Self:
        """What clients see of a stored device."""
        return cls(
            id=device.id,
            name=device.name,
            data=_json(device.data),
            network_id=device.network_id,
            device_type_id=device.device_type_id,
            is_blocked=device.is_blocked,
        )


class DatalessDeviceResource(Resource):
    """A device in a ``$device-update`` that leaves out its ``data``."""

    id: str
    name: str
    network_id: int
    device_type_id: int
    is_blocked: bool

    @classmethod
    def of(cls, device: Device) -> Self:
        """What clients see of a stored device."""
        return cls(**{name: getattr(device, name) for name in cls.__struct_fields__})


class NestedDeviceResource(Resource):
    """A device inside its network or device type (section 5.2)."""

    id: Annotated[str, Meta(description="id of the device")]
    name: Annotated[str, Meta(description="the name")]
    data: ClientData
    is_blocked: Annotated[bool, Meta(description="whether the device is blocked")]

    @classmethod
    def of(cls, device: Device) -> Self:
        """What clients see of a stored device."""
        return cls(id=device.id, name=device.name, data=_json(device.data), is_blocked=device.is_blocked)


class GroupResource(Resource):
    """A network or device type (section 5.5)."""

    id: Annotated[int, Meta(description="its id")]
    name: Annotated[str, Meta(description="the name")]
    description: Annotated[str | None, Meta(description="any text")]

    @classmethod
    def of(cls, group: Network | DeviceType) -> Self:
        """What clients see of a stored one."""
        return cls(id=group.id, name=group.name, description=group.description)


class GroupWithDevices(GroupResource):
    """A network or device type, and those of its devices that the caller may use."""

    devices: Annotated[list[NestedDeviceResource], Meta(description="those of its devices that the caller may use")]
    more: Annotated[
        More,
        Meta(
            description="true if the list was cut at `limits.list_bytes` or `limits.list_size`; `device/list` with this id and "
            "`skip` returns the rest. Absent otherwise, and always over REST"
        ),
    ] = UNSET


class IdResource(Resource):
    """A new network or device type: only its id."""

    id: Annotated[int, Meta(description="its id")]


class InsertedUserResource(Resource):
    """A new user; exactly these members (section 5.7)."""

    id: Annotated[int, Meta(description="id of the user")]
    last_login: Annotated[Time | None, Meta(description="when the user was last seen")]
    data: ClientData
    intro_reviewed: IntroReviewed
    all_device_types_available: Annotated[bool, Meta(description="whether the user may use every device type, also future ones")]

    @classmethod
    def of(cls, user: User) -> Self:
        """What clients see of a stored user."""
        return cls(**_of_new_user(user))


class UserResource(InsertedUserResource):
    """A user. ``role``: 0 administrator, 1 client; ``status``: 0 active, 1 locked out, 2 disabled."""

    login: Annotated[str, Meta(description="the login")]
    role: Annotated[int, Meta(description="0: administrator, 1: client", extra_json_schema={"enum": [0, 1]})]
    status: Annotated[int, Meta(description="0: active, 1: locked out, 2: disabled", extra_json_schema={"enum": [0, 1, 2]})]

    @classmethod
    def of(cls, user: User) -> Self:
        """What clients see of a stored user."""
        return cls(login=user.login, role=user.role, status=user.status, **_of_new_user(user))


class QuotaUse(Resource):
    """How much of a quota is used, and how much may be used. DeviceHive does not have this."""

    used: Annotated[int, Meta(description="how much is used")]
    limit: Annotated[int | None, Meta(description="how much may be used; null means any amount")]


class UserWithNetworks(UserResource):
    """A user with the networks that are assigned to them, and with their quotas."""

    networks: Annotated[list[GroupResource], Meta(description="the networks that are assigned to the user")]
    quotas: Annotated[
        dict[str, QuotaUse],
        Meta(description="what the user has used of each quota, by its name in the section `[quotas]` of the configuration"),
    ]
    more: Annotated[
        More,
        Meta(
            description="true if the list was cut at `limits.list_bytes` or `limits.list_size`; REST returns all of it. Absent "
            "otherwise, and always over REST"
        ),
    ] = UNSET

    @classmethod
    def with_networks(cls, user: User, networks: Any, more: Any, quotas: dict[str, QuotaUse]) -> Self:
        """What clients see of a stored user.

        :param networks: a list of :class:`GroupResource`, or the same as ``Raw`` JSON.
        :param more: true if there are more networks, else ``UNSET``.
        :param quotas: name -> use.
        """
        listed = {"networks": networks, "more": more, "quotas": quotas}
        return cls(login=user.login, role=user.role, status=user.status, **listed, **_of_new_user(user))


def _of_new_user(user: User) -> dict[str, Any]:
    return {
        "id": user.id,
        "last_login": None if user.last_login is None else format_timestamp(user.last_login),
        "data": _json(user.data),
        "intro_reviewed": user.intro_reviewed,
        "all_device_types_available": user.all_device_types_available,
    }


def _json(payload: bytes | None) -> Raw:
    return NULL if payload is None else Raw(payload)

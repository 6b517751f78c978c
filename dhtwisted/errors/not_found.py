"""404: an object of the request does not exist, or this client may not see it."""

from collections.abc import Iterable

from dhtwisted.errors.api import ApiError
from dhtwisted.errors.rights import AccessDenied


class NotFound(ApiError):
    """The object does not exist, and the client may know that."""

    code = 404


class DeviceNotFound(NotFound):
    """No device has this id."""

    def __init__(self, device_id: str | None) -> None:
        super().__init__(f"Device with such deviceId = {device_id} not found")


class UnseenDeviceNotFound(DeviceNotFound):
    """No device has this id, and the client may not see every device. REST answers 403 then (REST reference, section 7)."""

    rest_code = AccessDenied.code
    rest_text = AccessDenied.text


class DeviceTokenNotFound(NotFound):
    """No device tokens have this id, or they belong to another user."""

    def __init__(self, token_id: int | None) -> None:
        super().__init__(f"Token with id = {token_id} not found")


class CommandNotFound(NotFound):
    """The device has no command with this id, or it has expired."""

    def __init__(self, command_id: int | None) -> None:
        super().__init__(f"Command with id = {command_id} not found")


class NotificationNotFound(NotFound):
    """The device has no notification with this id, or it has expired."""

    text = "Requested notification not found"


class ConfigurationNotFound(NotFound):
    """There is no configuration of this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"Requested config with name = {name} not found in the database")


class NetworkNotFound(NotFound):
    """No network has this id."""

    def __init__(self, network_id: int | None) -> None:
        super().__init__(f"Network with id = {network_id} not found")


class DeviceTypeNotFound(NotFound):
    """No device type has this id."""

    def __init__(self, device_type_id: int | None) -> None:
        super().__init__(f"Device type with id = {device_type_id} not found")


class NetworksNotFound(NotFound):
    """A subscription names networks that do not exist."""

    def __init__(self, network_ids: Iterable[int]) -> None:
        super().__init__(f"Networks with such networkIds wasn't found: {{[{', '.join(map(str, network_ids))}]}}")


class DeviceTypesNotFound(NotFound):
    """A subscription names device types that do not exist."""

    def __init__(self, device_type_ids: Iterable[int]) -> None:
        super().__init__(f"Device types with such deviceTypeIds wasn't found: {{[{', '.join(map(str, device_type_ids))}]}}")


class UserNotFound(NotFound):
    """No user has this id."""

    def __init__(self, user_id: int | None) -> None:
        super().__init__(f"User with id = {user_id} not found")


class OtherUserNotFound(UserNotFound):
    """A user with the client role asks for another user. REST answers 403 then (REST reference, section 13a)."""

    rest_code = AccessDenied.code
    rest_text = AccessDenied.text


class UserNetworkNotFound(NotFound):
    """The network is not assigned to the user."""

    def __init__(self, network_id: int | None, user_id: int | None) -> None:
        super().__init__(f"Network with id {network_id} for user with id {user_id} was not found")


class UserDeviceTypeNotFound(NotFound):
    """The user does not have the device type."""

    def __init__(self, device_type_id: int | None, user_id: int | None) -> None:
        super().__init__(f"Device type with id {device_type_id} for user with id {user_id} not found")


class SubscriptionNotFound(NotFound):
    """This connection has no such subscription of this kind."""

    def __init__(self, subscription_id: int | str | None) -> None:
        super().__init__(f"Subscription with id {subscription_id} was not found")

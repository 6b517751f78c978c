"""404: what the request names does not exist, or not for this client."""

from dhtwisted.errors.api import ApiError
from dhtwisted.errors.rights import AccessDenied


class NotFound(ApiError):
    """The object does not exist, and the caller may know."""

    code = 404


class DeviceNotFound(NotFound):
    """No device has this id."""

    def __init__(self, device_id):
        super().__init__(f"Device with such deviceId = {device_id} not found")


class UnseenDeviceNotFound(DeviceNotFound):
    """No device has this id, told to somebody who may not see every device: REST does not say that much (REST reference, section 7)."""

    rest_code = AccessDenied.code
    rest_text = AccessDenied.text


class DeviceTokenNotFound(NotFound):
    """No tokens of a device have this id, or they are another user's."""

    def __init__(self, token_id):
        super().__init__(f"Token with id = {token_id} not found")


class CommandNotFound(NotFound):
    """The device has no command with this id, or it has expired."""

    def __init__(self, command_id):
        super().__init__(f"Command with id = {command_id} not found")


class NotificationNotFound(NotFound):
    """The device has no notification with this id, or it has expired."""

    text = "Requested notification not found"


class ConfigurationNotFound(NotFound):
    """There is no configuration of this name."""

    def __init__(self, name):
        super().__init__(f"Requested config with name = {name} not found in the database")


class NetworkNotFound(NotFound):
    """No network has this id."""

    def __init__(self, network_id):
        super().__init__(f"Network with id = {network_id} not found")


class DeviceTypeNotFound(NotFound):
    """No device type has this id."""

    def __init__(self, device_type_id):
        super().__init__(f"Device type with id = {device_type_id} not found")


class NetworksNotFound(NotFound):
    """A subscription names networks that do not exist."""

    def __init__(self, network_ids):
        super().__init__(f"Networks with such networkIds wasn't found: {{[{', '.join(map(str, network_ids))}]}}")


class DeviceTypesNotFound(NotFound):
    """A subscription names device types that do not exist."""

    def __init__(self, device_type_ids):
        super().__init__(f"Device types with such deviceTypeIds wasn't found: {{[{', '.join(map(str, device_type_ids))}]}}")


class UserNotFound(NotFound):
    """No user has this id."""

    def __init__(self, user_id):
        super().__init__(f"User with id = {user_id} not found")


class OtherUserNotFound(UserNotFound):
    """Somebody else is asked for by a caller with the client's role. REST says that it is forbidden (REST reference, section 13a)."""

    rest_code = AccessDenied.code
    rest_text = AccessDenied.text


class UserNetworkNotFound(NotFound):
    """The network is not assigned to the user."""

    def __init__(self, network_id, user_id):
        super().__init__(f"Network with id {network_id} for user with id {user_id} was not found")


class UserDeviceTypeNotFound(NotFound):
    """The user does not have the device type."""

    def __init__(self, device_type_id, user_id):
        super().__init__(f"Device type with id {device_type_id} for user with id {user_id} not found")


class SubscriptionNotFound(NotFound):
    """This connection has no such subscription of this kind."""

    def __init__(self, subscription_id):
        super().__init__(f"Subscription with id {subscription_id} was not found")

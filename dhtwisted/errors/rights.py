"""401 and 403: the client is not authenticated, or may not do this."""

from collections.abc import Iterable

from dhtwisted.errors.api import ApiError


class Unauthorized(ApiError):
    """The client must authenticate first, or again.

    :ivar login: of the user concerned, for the audit log; ``None`` if nobody has the given login, or it is not known.
    """

    code = 401
    text = "Unauthorized"
    login: str | None = None


class InvalidCredentials(Unauthorized):
    """A wrong login, password or token."""

    text = "Invalid credentials"


class TokenTooLarge(Unauthorized):
    """A token names too many networks and device types.

    :param ids: how many it names.
    :param limit: ``limits.token_ids``.
    """

    def __init__(self, ids: int, limit: int) -> None:
        super().__init__(detail=f"the token names {ids} networks and device types; at most {limit} are allowed (limits.token_ids)")


class TokenExpired(Unauthorized):
    """An expired access token. The JavaScript and Go clients refresh on exactly this text."""

    text = "Token expired"


class RefreshTokenExpired(Unauthorized):
    """An expired refresh token."""

    text = "Token has expired"


class InvalidTokenType(Unauthorized):
    """An access token instead of a refresh token."""

    text = "Invalid token type"


class UserLocked(Unauthorized):
    """The right password, but the user is locked out or disabled."""

    text = "User is locked or disabled"


class UnknownLogin(Unauthorized):
    """No such login; sent only with ``compatibility.distinct_login_errors``."""

    def __init__(self, login: str) -> None:
        super().__init__(f"User with login = {login} not found or bad password")

    @property
    def logged(self) -> str:
        """The sentence without the login: a user may have typed their password there."""
        return "User with this login not found or bad password"


class AccessDenied(ApiError):
    """The token lacks the permission, or the object is outside its networks and device types."""

    code = 403
    text = "Access is denied"


class MissingPermission(AccessDenied):
    """The token has none of the permissions that allow the action.

    :param names: the wire names of these permissions.
    """

    def __init__(self, names: Iterable[str]) -> None:
        super().__init__(detail=f"the token lacks the permission {' or '.join(names)}")


class UserInactive(AccessDenied):
    """``token/create`` for a user who is locked out or disabled."""

    text = "User is locked or disabled"


class NothingAccessible(AccessDenied):
    """A subscription that could never match."""

    text = "No access to any device type or network"


class NoAccessToNetwork(AccessDenied):
    """``device/save`` with a network that is not assigned to the user."""

    text = "No access to network!"


class NoAccessToDeviceType(AccessDenied):
    """``device/save`` with a device type that the user may not use."""

    text = "No access to device type!"


class NoAccessToDevice(AccessDenied):
    """``device/save`` of an existing device outside the user's networks."""

    text = "No access to device"


class AdministratorRequired(AccessDenied):
    """A user with the client role asks for a change that only administrators may make."""

    text = "Admin permissions required for this action"


class OwnUserDeleted(AccessDenied):
    """A user wants to delete themselves."""

    text = "You can not delete a user or access key that you use to authenticate this request"


class LoginTaken(AccessDenied):
    """Another user has this login."""

    text = "User with such login already exists. Please, select another one"


class AllDeviceTypesAllowed(AccessDenied):
    """The user has all device types, so none can be assigned."""

    text = "Cannot assign device type to user with all device types allowed"


class NetworkNameTaken(AccessDenied):
    """Another network has this name."""

    text = "Network cannot be created. Network with such name already exists"


class DeviceTypeNameTaken(AccessDenied):
    """Another device type has this name."""

    text = "Device type cannot be created. Device type with such name already exists"


class ReservedNotification(AccessDenied):
    """A client sent a notification with a name that is reserved for the server."""

    text = "It's forbidden to insert these special notifications: $device-update, $device-add."


class DeviceBlocked(AccessDenied):
    """The device is blocked and ``server.refuse_blocked_devices`` is on."""

    def __init__(self, device_id: str | None) -> None:
        super().__init__(f"Device with deviceId = {device_id} is blocked")


class DeviceWithoutNetwork(AccessDenied):
    """The device's network no longer exists."""

    def __init__(self, device_id: str | None) -> None:
        super().__init__(f"Device with deviceId = {device_id} is not connected to any network")


class QuotaExceeded(AccessDenied):
    """A quota of a user or a device is used up, see :mod:`dhtwisted.core.quotas`.

    :param name: of the quota, as in ``[quotas]``.
    :param amount: how much is allowed, with its unit.
    """

    def __init__(self, name: str, amount: str) -> None:
        super().__init__(
            f"Quota exceeded: {name}", detail=f"the limit is {amount} (quotas.{name}); delete something, or ask the operator for more"
        )

"""401 and 403: who the client is, and what they may do."""

from dhtwisted.errors.api import ApiError


class Unauthorized(ApiError):
    """The action needs an identity that the connection does not have, or no longer has.

    :ivar login: of the user who was meant, for the audit log; ``None`` where nobody has the login that was given, or that is not known.
    """

    code = 401
    text = "Unauthorized"
    login: str | None = None


class InvalidCredentials(Unauthorized):
    """A login, password or token that is not good."""

    text = "Invalid credentials"


class TokenTooLarge(Unauthorized):
    """A token that names more than one may.

    :param ids: what it names.
    :param limit: ``limits.token_ids``.
    """

    def __init__(self, ids, limit):
        super().__init__(detail=f"the token names {ids} networks and device types; at most {limit} are allowed (limits.token_ids)")


class TokenExpired(Unauthorized):
    """An access token past its time; JavaScript and Go clients refresh on exactly this text."""

    text = "Token expired"


class RefreshTokenExpired(Unauthorized):
    """A refresh token past its time."""

    text = "Token has expired"


class InvalidTokenType(Unauthorized):
    """An access token where a refresh token belongs."""

    text = "Invalid token type"


class UserLocked(Unauthorized):
    """The right password of a user who is locked out or disabled."""

    text = "User is locked or disabled"


class UnknownLogin(Unauthorized):
    """No such login; sent only with ``compatibility.distinct_login_errors``."""

    def __init__(self, login):
        super().__init__(f"User with login = {login} not found or bad password")

    @property
    def logged(self):
        """Without the login, which may be a password in the wrong place."""
        return "User with this login not found or bad password"


class AccessDenied(ApiError):
    """The token lacks the permission, or the object lies outside its networks and device types."""

    code = 403
    text = "Access is denied"


class MissingPermission(AccessDenied):
    """The token has none of the permissions of which the action needs one.

    :param names: the wire names of these.
    """

    def __init__(self, names):
        super().__init__(detail=f"the token lacks the permission {' or '.join(names)}")


class UserInactive(AccessDenied):
    """``token/create`` for a user who is locked out or disabled."""

    text = "User is locked or disabled"


class NothingAccessible(AccessDenied):
    """A subscription that could never match."""

    text = "No access to any device type or network"


class NoAccessToNetwork(AccessDenied):
    """``device/save`` into a network that the user does not have."""

    text = "No access to network!"


class NoAccessToDeviceType(AccessDenied):
    """``device/save`` with a device type that the user may not use."""

    text = "No access to device type!"


class NoAccessToDevice(AccessDenied):
    """``device/save`` of an existing device outside the user's networks."""

    text = "No access to device"


class AdministratorRequired(AccessDenied):
    """A caller with the client's role asks for what only administrators do to users."""

    text = "Admin permissions required for this action"


class OwnUserDeleted(AccessDenied):
    """``user/delete`` of oneself."""

    text = "You can not delete a user or access key that you use to authenticate this request"


class LoginTaken(AccessDenied):
    """Another user has this login."""

    text = "User with such login already exists. Please, select another one"


class AllDeviceTypesAllowed(AccessDenied):
    """A single device type is to be assigned to a user who has all."""

    text = "Cannot assign device type to user with all device types allowed"


class NetworkNameTaken(AccessDenied):
    """Another network has this name."""

    text = "Network cannot be created. Network with such name already exists"


class DeviceTypeNameTaken(AccessDenied):
    """Another device type has this name."""

    text = "Device type cannot be created. Device type with such name already exists"


class ReservedNotification(AccessDenied):
    """A client tried to send one of the notifications that only the server makes."""

    text = "It's forbidden to insert these special notifications: $device-update, $device-add."


class DeviceBlocked(AccessDenied):
    """The device is blocked and ``server.refuse_blocked_devices`` is on."""

    def __init__(self, device_id):
        super().__init__(f"Device with deviceId = {device_id} is blocked")


class DeviceWithoutNetwork(AccessDenied):
    """The device's network is gone."""

    def __init__(self, device_id):
        super().__init__(f"Device with deviceId = {device_id} is not connected to any network")


class QuotaExceeded(AccessDenied):
    """A quota is used up: of a user or a device, see :mod:`dhtwisted.core.quotas`.

    :param name: of the quota, as in ``[quotas]``.
    :param amount: how much there may be, with its unit.
    """

    def __init__(self, name, amount):
        super().__init__(
            f"Quota exceeded: {name}", detail=f"the limit is {amount} (quotas.{name}); delete something, or ask the operator for more"
        )

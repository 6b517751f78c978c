"""400: the request cannot be understood, or it has a value that is not allowed."""

from collections.abc import Iterable, Sequence

from dhtwisted.errors.api import ApiError


class BadRequest(ApiError):
    """The request breaks a rule. The text names it."""

    code = 400
    text = "Invalid request parameters"


class MalformedJson(BadRequest):
    """Not JSON, not an object, a member of the wrong type, or JSON that cannot be stored."""

    text = "Malformed Json received."
    rest_text = BadRequest.text


class TooDeep(MalformedJson):
    """JSON nested deeper than ``limits.json_depth``."""


class WrongLength(BadRequest):
    """A text that is too short or too long.

    :param member: its path in the request.
    """

    def __init__(self, member: str, low: int, high: int) -> None:
        name = member.rpartition(".")[2]
        super().__init__(
            f"Field cannot be empty. The length of {name} should be from {low} to {high} symbols.",
            detail=f"{member} must have {low} to {high} characters",
        )


class UnknownEndpoint(BadRequest):
    """``action`` is missing, empty, or no string."""

    text = "'action' field could not be parsed to known endpoint"
    detail = "action is missing, empty or not a string; give the name of an action, such as device/get"


class IllegalAction(BadRequest):
    """This server has no action of this name."""

    detail = "the server has no action of this name; names are case-sensitive, such as user/getCurrent"

    def __init__(self, action: str) -> None:
        super().__init__(f"Illegal argument: {action}")


class MissingPayload(BadRequest):
    """A token request without its payload."""

    text = "Missing or invalid payload in request"
    detail = "payload is missing; give an object with userId"


class InvalidAuthorizationRequest(BadRequest):
    """``token`` with a blank login or an empty password."""

    text = "Invalid or empty authorization request parameters"
    detail = "login and password are both required and must not be empty"


class MissingDeviceId(BadRequest):
    """``deviceId`` is absent, null or empty."""

    text = "Device id is wrong or empty"
    detail = "deviceId is missing or empty; give the device's id as a string"


class InvalidDeviceId(BadRequest):
    """``deviceId`` has characters that are not allowed, or is too long."""

    text = "Device Id can only contain letters, digits and dashes."


class MissingDevice(BadRequest):
    """``device/save`` without a ``device``."""

    text = "Device is empty"
    detail = "device is missing; give an object, which may be empty"


class MissingBody(BadRequest):
    """A REST request without the body that it needs."""

    text = "Error! Validation failed: Object is null"
    detail = "the body is missing; send JSON"


class MissingCommand(BadRequest):
    """A command action without a usable ``command`` object."""

    text = "Command is required"
    detail = "command is missing; give an object with the command's name as its member command"


class MissingCommandChange(MissingCommand):
    """``command/update`` without a ``command``."""

    rest_text = MissingBody.text
    detail = "command is missing; give an object with status, result or both"


class MissingCommandId(BadRequest):
    """``commandId`` is absent."""

    text = "Command id is wrong or empty"
    detail = "commandId is missing; give the command's id as an integer"


class MissingNotification(BadRequest):
    """``notification/insert`` without an object or a name."""

    text = "Notification is required"
    rest_text = BadRequest.text
    detail = "notification is missing; give an object with the notification's name as its member notification"


class MissingNotificationId(BadRequest):
    """``notificationId`` is absent."""

    text = "Notification id is wrong or empty"
    detail = "notificationId is missing; give the notification's id as an integer"


class InvalidNotificationId(BadRequest):
    """``notificationId`` is not an integer: the only type error with a text of its own."""

    text = "Notification id should be an integer value."


class UnparseableTimestamp(BadRequest):
    """A REST query with an invalid timestamp."""

    text = "Unparseable timestamp"


class UnknownParameter(BadRequest):
    """A REST query with a parameter that the route does not have, and ``strict=true``.

    :param name: the parameter, as the client wrote it.
    :param known: the parameters of the route, the most similar first.
    """

    def __init__(self, name: str, known: Sequence[str]) -> None:
        allowed = f"the parameters are {', '.join(known)}" if known else "it has no parameters"
        super().__init__(detail=f"the query of this request has no parameter {name!r}; {allowed}")


class InvalidTimeout(BadRequest):
    """``waitTimeout`` of a poll is below 0 or above 60 seconds. The texts end in a space on the wire."""

    detail = "waitTimeout must be 0 to 60 seconds; the default is 30"

    def __init__(self, seconds: int, most: int) -> None:
        super().__init__("Timeout can't be less than 0 seconds. " if seconds < 0 else f"Timeout can't be more than {most} seconds. ")


class InvalidLimit(BadRequest):
    """``limit`` of a poll is below 0."""

    text = "Limit can't be less than 0."
    detail = "limit must not be below 0; 0 means all"


class MissingConfigurationName(BadRequest):
    """``name`` of a configuration action is absent or empty."""

    text = "Configuration name is wrong or empty"
    detail = "name is missing or empty; give the name of a configuration as a string"


class InvalidConfigurationName(BadRequest):
    """``name`` of a configuration action is too long."""

    text = "Name cannot be empty. The name's length should not be more than 32 symbols."
    detail = "name must have 1 to 32 characters"


class SpecifiedId(BadRequest):
    """The client chose an id for a new network or device type."""

    text = "Invalid request parameters. Id cannot be specified."


class MissingNetworkId(BadRequest):
    """``networkId`` is absent."""

    text = "Network id is wrong or empty"
    detail = "networkId is missing; give the network's id as an integer"


class MissingNetwork(BadRequest):
    """A network action without a ``network`` object."""

    text = "Network is required"
    rest_text = MissingBody.text
    detail = "network is missing; give an object with its name"


class MissingDeviceTypeId(BadRequest):
    """``deviceTypeId`` is absent."""

    text = "Device type id is wrong or empty"
    detail = "deviceTypeId is missing; give the device type's id as an integer"


class MissingDeviceType(BadRequest):
    """A device type action without a ``deviceType`` object."""

    text = "Device type is required"
    rest_text = MissingBody.text
    detail = "deviceType is missing; give an object with its name"


class NetworkNotEmpty(BadRequest):
    """The client wants to delete a network with devices, without ``force``."""

    def __init__(self, device_ids: Iterable[str]) -> None:
        super().__init__(
            f"There are the following devices within this network: {', '.join(device_ids)}. Please review and delete them first."
        )


class DeviceTypeNotEmpty(BadRequest):
    """The client wants to delete a device type with devices, without ``force``."""

    def __init__(self, device_ids: Iterable[str]) -> None:
        super().__init__(
            f"There are the following devices within this device type: {', '.join(device_ids)}. Please review and delete them first."
        )


class MissingUserId(BadRequest):
    """``userId`` is absent."""

    text = "User id is wrong or empty"
    detail = "userId is missing; give the user's id as an integer"


class MissingUser(BadRequest):
    """A user action without a ``user`` object."""

    text = "User is required"
    rest_text = MissingBody.text
    detail = "user is missing; give an object with the fields to set"


class InvalidLogin(BadRequest):
    """A login that is too short or too long."""

    text = "Field cannot be empty. The length of login should be from 3 to 128 symbols."


class InvalidPassword(BadRequest):
    """A password that is too short or too long."""

    text = "Password can contain only from 6 to 128 symbols!"


class InvalidRole(BadRequest):
    """A required role is absent, or there is no such role."""

    text = "User role is invalid or empty"
    detail = "user.role must be 0 (administrator) or 1 (client)"


class InvalidSortOrder(BadRequest):
    """``sortOrder`` is neither ``ASC`` nor ``DESC``."""

    detail = "sortOrder must be ASC or DESC, or left out"

    def __init__(self, order: str) -> None:
        super().__init__(f"Unparseable sort order : {order}")


class DeviceTokensUnsupported(BadRequest):
    """The auth provider cannot put a device into a token."""

    text = "Tokens for one device are not supported by this server's auth provider"


class MissingTokenId(BadRequest):
    """``tokenId`` is missing."""

    text = "Token id is wrong or empty"
    detail = "tokenId is missing; give the id from token/list as an integer"

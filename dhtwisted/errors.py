"""Every error of the server, and the only place that knows a wire code.

Three families: what a client is told (:class:`ApiError`), what a provider tells the server (:class:`StorageError`,
:class:`AuthUnavailable`), and what the person who starts the server is told (:class:`ConfigurationError`). Texts of :class:`ApiError` are
constants of the DeviceHive wire protocol: clients and test suites compare them literally (WebSocket reference, section 2.1).
"""

from math import ceil

UNREADABLE = (ValueError, RecursionError)
"""What msgspec raises for JSON that it cannot read: errors of its own, which are ValueErrors, and for bad UTF-8 before 0.23 Unicode's."""


class ApiError(Exception):
    """An answer other than success.

    :ivar code: the number sent as ``code``; the same as an HTTP status.
    :ivar text: the sentence sent as ``error``; it never holds an exception's text, a password or a token.
    :ivar rest_code: the number that REST sends, where it is another one.
    :ivar rest_text: the sentence that REST sends, where it is another one.
    :ivar retry_after: whole seconds after which the same request may succeed, sent as ``retryAfter``; ``None`` where nobody can say.
    :ivar detail: a short sentence for whoever writes the client, sent as ``detail``: which member is wrong, named by its path
        (``device.networkId``, ``names[2]``), what was expected, and what to do. It never holds a value that the client sent, nor an
        exception's text, nor tells whether an object exists that its reader may not see. ``None`` where the text says it all.
    """

    code = 500
    text = "Internal server error"
    rest_code: int | None = None
    rest_text: str | None = None
    retry_after: int | None = None
    detail: str | None = None

    def __init__(self, text=None, *, detail=None):
        if text is not None:
            self.text = text
        if detail is not None:
            self.detail = detail
        super().__init__(self.text)

    @property
    def logged(self):
        """The sentence as logs may have it."""
        return self.text


class InternalError(ApiError):
    """A defect of ours; the cause is in the log, not in the answer."""


class BadRequest(ApiError):
    """The request breaks a rule that its text names."""

    code = 400
    text = "Invalid request parameters"


class MalformedJson(BadRequest):
    """Not JSON, not an object, a member of the wrong type, or JSON that cannot be kept."""

    text = "Malformed Json received."
    rest_text = BadRequest.text


class TooDeep(MalformedJson):
    """JSON nested deeper than ``limits.json_depth``."""


class WrongLength(BadRequest):
    """A text that is too short or too long.

    :param member: its path in the request.
    """

    def __init__(self, member, low, high):
        name = member.rpartition(".")[2]
        super().__init__(
            f"Field cannot be empty. The length of {name} should be from {low} to {high} symbols.",
            detail=f"{member} must have {low} to {high} characters",
        )


class UnknownEndpoint(BadRequest):
    """``action`` is missing, empty, or no string."""

    text = "'action' field could not be parsed to known endpoint"
    detail = "action is missing, empty or no string; give the name of an action, such as device/get"


class IllegalAction(BadRequest):
    """``action`` names nothing that this server has."""

    detail = "action names nothing that this server has; upper and lower case count, as in user/getCurrent"

    def __init__(self, action):
        super().__init__(f"Illegal argument: {action}")


class MissingPayload(BadRequest):
    """A token request without its payload."""

    text = "Missing or invalid payload in request"
    detail = "payload is missing; give an object with userId"


class InvalidAuthorizationRequest(BadRequest):
    """``token`` with a blank login or an empty password."""

    text = "Invalid or empty authorization request parameters"
    detail = "login and password are both needed, and must not be empty"


class MissingDeviceId(BadRequest):
    """``deviceId`` is absent, null or empty."""

    text = "Device id is wrong or empty"
    detail = "deviceId is missing or empty; give the device's id as a string"


class InvalidDeviceId(BadRequest):
    """``deviceId`` has other characters, or is longer, than a device id may."""

    text = "Device Id can only contain letters, digits and dashes."
    detail = "deviceId must be 1 to 48 ASCII letters, digits and dashes"


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
    """``notificationId`` is no integer: the one type error with a text of its own."""

    text = "Notification id should be an integer value."


class UnclearForwarding(BadRequest):
    """A trusted proxy passes on forwarding headers that leave open who the client is."""

    text = (
        "Forwarded cannot be read, or names another client than X-Forwarded-For. "
        "The proxy must overwrite or remove what clients send in these headers."
    )


class UnparseableTimestamp(BadRequest):
    """A REST query with a timestamp that is none."""

    text = "Unparseable timestamp"


class UnknownParameter(BadRequest):
    """A REST query with a parameter that the route does not have, and ``strict=true``.

    :param name: the parameter, as the client wrote it.
    :param known: those that the route has, the most likely first.
    """

    def __init__(self, name, known):
        has = f"it has {', '.join(known)}" if known else "it has none"
        super().__init__(detail=f"this request has no parameter {name!r} in its query; {has}")


class InvalidTimeout(BadRequest):
    """``waitTimeout`` of a poll is below 0 or above 60 seconds. The texts end in a space on the wire."""

    detail = "waitTimeout must be seconds from 0 to 60; leave it out for 30"

    def __init__(self, seconds, most):
        super().__init__("Timeout can't be less than 0 seconds. " if seconds < 0 else f"Timeout can't be more than {most} seconds. ")


class InvalidLimit(BadRequest):
    """``limit`` of a poll is below 0."""

    text = "Limit can't be less than 0."
    detail = "limit must not be below 0; 0 is all"


class MissingConfigurationName(BadRequest):
    """``name`` of a configuration action is absent or empty."""

    text = "Configuration name is wrong or empty"
    detail = "name is missing or empty; give the name of a configuration as a string"


class InvalidConfigurationName(BadRequest):
    """``name`` of a configuration action is too long."""

    text = "Name cannot be empty. The name's length should not be more than 32 symbols."
    detail = "name must have 1 to 32 characters"


class SpecifiedId(BadRequest):
    """A network or device type is to be made with an id of the client's choice."""

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
    """A network that has devices is to be deleted without ``force``."""

    def __init__(self, device_ids):
        super().__init__(
            f"There are the following devices within this network: {', '.join(device_ids)}. Please review and delete them first."
        )


class DeviceTypeNotEmpty(BadRequest):
    """A device type that has devices is to be deleted without ``force``."""

    def __init__(self, device_ids):
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
    detail = "user is missing; give an object with what is to be set"


class InvalidLogin(BadRequest):
    """A login that is too short or too long."""

    text = "Field cannot be empty. The length of login should be from 3 to 128 symbols."
    detail = "user.login must have 3 to 128 characters"


class InvalidPassword(BadRequest):
    """A password that is too short or too long."""

    text = "Password can contain only from 6 to 128 symbols!"
    detail = "user.password must have 6 to 128 characters"


class InvalidRole(BadRequest):
    """A role that is absent where one is needed, or that there is not."""

    text = "User role is invalid or empty"
    detail = "user.role must be 0 (administrator) or 1 (client)"


class InvalidSortOrder(BadRequest):
    """``sortOrder`` is neither ``ASC`` nor ``DESC``."""

    detail = "sortOrder must be ASC or DESC; leave it out for the usual order"

    def __init__(self, order):
        super().__init__(f"Unparseable sort order : {order}")


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
        super().__init__(detail=f"the token names {ids} networks and device types, and may name {limit} (limits.token_ids)")


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
    """A quota is used up: of a user or a device, see :mod:`dhtwisted.quotas`.

    :param name: of the quota, as in ``[quotas]``.
    :param amount: how much there may be, with its unit.
    """

    def __init__(self, name, amount):
        super().__init__(
            f"Quota exceeded: {name}", detail=f"there may be {amount} (quotas.{name}); make room, or ask the operator for more"
        )


class NotFound(ApiError):
    """The object does not exist, and the caller may know."""

    code = 404


class NoSuchPath(NotFound):
    """REST has nothing at this path."""

    text = "HTTP 404 Not Found"


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


class DeviceTokensUnsupported(BadRequest):
    """The auth provider does not carry a token's device."""

    text = "Tokens for one device are not supported by this server's auth provider"


class MissingTokenId(BadRequest):
    """``tokenId`` is missing."""

    text = "Token id is wrong or empty"
    detail = "tokenId is missing; give the id from token/list as an integer"


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


class MethodNotAllowed(ApiError):
    """REST has this path, but not for this method."""

    code = 405
    text = "HTTP 405 Method Not Allowed"
    detail = "this path has other methods; the header Allow names them"


class UpgradeRequired(ApiError):
    """A plain HTTP request for a path of the WebSocket."""

    code = 426
    text = (
        "This path is for WebSockets, and the request does not ask for one (Upgrade: websocket). "
        "If a proxy is in between, it must pass on the headers Upgrade and Connection."
    )


class UnknownWebSocketVersion(UpgradeRequired):
    """A WebSocket handshake of a version that is not spoken, or of none (RFC 6455, section 4.4)."""

    text = "The handshake must have the header Sec-WebSocket-Version, once, with 13."


class HttpVersionTooOld(ApiError):
    """A WebSocket handshake over HTTP/1.0, as proxies send it that are not told otherwise."""

    code = 505
    text = (
        "A WebSocket needs HTTP/1.1, and this came by HTTP/1.0. If a proxy is in between, have it use 1.1 (nginx: proxy_http_version 1.1)."
    )


class HandshakeMethod(ApiError):
    """A WebSocket handshake that is no GET."""

    code = 405
    text = "A WebSocket is opened with the method GET."


class HandshakeFault(BadRequest):
    """A WebSocket handshake that lacks something; its text says what."""


class BodyTooLarge(ApiError):
    """A REST request with a body above ``limits.message_size``.

    :param size: that limit, in bytes.
    """

    code = 413
    text = "HTTP 413 Content Too Large"

    def __init__(self, size):
        super().__init__(detail=f"a body may have {size} bytes (limits.message_size)")


class RequestTimeout(ApiError):
    """A request, or the body of one, did not come in time."""

    code = 408
    text = "HTTP 408 Request Timeout"


class HeadTooLarge(ApiError):
    """The head of a request is longer than any client's."""

    code = 431
    text = "HTTP 431 Request Header Fields Too Large"
    detail = "the path, the query and the headers of a request may have 16384 bytes"


class MalformedHttp(ApiError):
    """What came is not HTTP."""

    code = 400
    text = "HTTP 400 Bad Request"


class UnsupportedMediaType(ApiError):
    """A REST request with a body that says it is something else than JSON."""

    code = 415
    text = "HTTP 415 Unsupported Media Type"
    detail = "the body must be JSON, and its Content-Type application/json"


class ObjectChanged(ApiError):
    """Somebody else created or changed the object at the same moment."""

    code = 409
    text = "The object was changed at the same time. Please repeat the request."


class CurrentUserGone(ApiError):
    """The caller himself was deleted meanwhile."""

    code = 409
    text = "Can not get current user."


class TooManyRequests(ApiError):
    """A configured limit is reached.

    :param retry_after: seconds until there is room again; a few where that depends on other clients.
    :param detail: which limit it is.
    :ivar login: of the user who was meant, for the audit log; ``None`` where that is not known, or nobody is meant.
    """

    code = 429
    text = "Too many requests"
    retry_after = 10
    login: str | None = None

    def __init__(self, retry_after=None, *, detail=None):
        super().__init__(detail=detail)
        if retry_after is not None:
            self.retry_after = max(1, ceil(retry_after))


class QuotaExceededForNow(TooManyRequests):
    """A quota is used up that has room again by itself: of a day, or of requests that wait.

    :param amount: how much there may be, with its unit.
    :param seconds: until then.
    """

    def __init__(self, name, amount, seconds):
        super().__init__(seconds, detail=f"there may be {amount} (quotas.{name})")
        self.text = f"Quota exceeded: {name}"
        self.args = (self.text,)


class ServiceUnavailable(ApiError):
    """The storage or the auth provider cannot answer now."""

    code = 503
    text = "Service is not available"


class ServiceOverloaded(ServiceUnavailable):
    """The storage has more to do than it should have waiting, which takes it a moment."""

    retry_after = 1


class StorageError(Exception):
    """What a storage provider raises; the server turns it into an answer."""


class Duplicate(StorageError):
    """Another entity of the kind has this key, or this value of a unique field.

    :ivar field: the name of the field, as in :mod:`dhtwisted.model`.
    """

    def __init__(self, kind, field, value):
        self.field = field
        super().__init__(f"there is a {kind.__name__} with {field} = {value!r} already")


class Missing(StorageError):
    """The entity to be changed does not exist."""

    def __init__(self, kind, key):
        super().__init__(f"there is no {kind.__name__} {key!r}")


class Unstorable(StorageError):
    """A value that this storage cannot hold, such as text that is no Unicode, or an integer beyond 64 bits. Nothing was changed."""


class StorageUnavailable(StorageError):
    """The storage cannot do it now: disk full, database away, closed. Nothing is half done; clients get 503.

    Where the answer of a commit was lost, and it cannot be found out, the whole may have been done.
    """


class StorageDamaged(StorageUnavailable):
    """What is stored cannot be read, or nothing be written: the file is damaged, or the disk fails.

    :ivar lasts: whether it stays so until somebody mends it.
    """

    def __init__(self, text, lasts):
        self.lasts = lasts
        super().__init__(text)


class RowDamaged(StorageDamaged):
    """A row of a file is not as it was stored.

    :param kind: of what it is, such as ``notification``.
    :param key: its id, as far as that is to be believed.
    """

    def __init__(self, kind, key):
        super().__init__(f"{kind} {key} is damaged (it was changed on the disk)", lasts=True)


class Overloaded(StorageUnavailable):
    """The storage is there, and has more to do than it should have waiting."""


class DeadlinePassed(StorageUnavailable):
    """A request was not answered in time. Whatever it waits for, its client is told the same as of a storage that is away."""

    def __init__(self, seconds):
        super().__init__(f"no answer within {seconds} seconds")


class WriterLost(StorageUnavailable):
    """The process that writes a file could not be started, or ended before it answered: what it was asked for is done, or none of it."""


class AuthUnavailable(Exception):
    """The auth provider cannot ask what it asks (a directory such as LDAP) now. The text is for the log; clients get 503."""


class ConfigurationError(Exception):
    """The server cannot start as configured; the text is one line that names the place, the reason and the cure."""


class CommandError(Exception):
    """A command of the shell cannot be done; the text is one line that says why, and what to do."""


class TransferError(CommandError):
    """An export or import cannot be done, or not be finished; the text is one line that names the place and the reason."""


class AccountError(CommandError):
    """What was asked for a user or his tokens from the shell cannot be done; the text is one line that says why."""


class ProviderError(ConfigurationError):
    """A provider string names something unknown, broken, or found twice."""

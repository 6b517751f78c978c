"""Errors of requests as refusals of MQTT."""

from __future__ import annotations

from dhtwisted.errors import (
    AccessDenied,
    ApiError,
    BadRequest,
    CommandNotFound,
    DeviceNotFound,
    MissingDeviceId,
    MissingNotification,
    QuotaExceeded,
    ReservedNotification,
    ServiceUnavailable,
    TooManyRequests,
    Unauthorized,
)
from dhtwisted.fronts.mqtt.interfaces import Refusal
from dhtwisted.wire.mqtt.reasons import ReasonCode

_CODES: tuple[tuple[type[ApiError] | tuple[type[ApiError], ...], ReasonCode], ...] = (
    ((QuotaExceeded, TooManyRequests), ReasonCode.QUOTA_EXCEEDED),
    ((ReservedNotification, DeviceNotFound, MissingDeviceId, MissingNotification), ReasonCode.TOPIC_NAME_INVALID),
    ((Unauthorized, AccessDenied), ReasonCode.NOT_AUTHORIZED),
    (BadRequest, ReasonCode.PAYLOAD_FORMAT_INVALID),
    (CommandNotFound, ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR),
)

NOBODY = Refusal(ReasonCode.NOT_AUTHORIZED, "the client has not logged in; dh/request takes the actions token and authenticate")


def refusal_of(error: ApiError) -> Refusal:
    """The refusal of a publish or a subscription that failed.

    :param error: what a client of another front would get.
    """
    code = next((code for kind, code in _CODES if isinstance(error, kind)), ReasonCode.UNSPECIFIED_ERROR)
    text = error.text if error.detail is None else f"{error.text}: {error.detail}"
    return Refusal(code, text, isinstance(error, ServiceUnavailable))

"""The permitted values of users, networks, devices and messages, in requests, on the command line and in imports.

Each function raises a :class:`~dhtwisted.errors.BadRequest` or another ``ApiError`` whose ``detail`` names the member.
"""

from __future__ import annotations

import re

from dhtwisted.errors import (
    AccessDenied,
    ApiError,
    BadRequest,
    InvalidConfigurationName,
    InvalidDeviceId,
    InvalidLogin,
    InvalidPassword,
    InvalidRole,
    MissingConfigurationName,
)
from dhtwisted.model import ACTIVE, ADMINISTRATOR, CLIENT, DISABLED
from dhtwisted.wire.fields import MAX_NAME, check_length

SHORTEST_LOGIN, LONGEST_LOGIN = 3, 128
LOGIN = re.compile(rf"[A-Za-z0-9_@.-]{{{SHORTEST_LOGIN},{LONGEST_LOGIN}}}", re.ASCII)
LOGIN_RULE = f"{SHORTEST_LOGIN} to {LONGEST_LOGIN} letters, digits and _ @ . -"
SHORTEST_PASSWORD, LONGEST_PASSWORD = 6, 128
PASSWORD_RULE = f"{SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters"
ROLES = frozenset({ADMINISTRATOR, CLIENT})
STATUSES = frozenset(range(ACTIVE, DISABLED + 1))

LONGEST_ID = 18
"""Most digits of the id of a user, network or device type in a text."""

LONGEST_DEVICE_ID = 48
DEVICE_ID = re.compile(rf"[a-zA-Z0-9-]{{1,{LONGEST_DEVICE_ID}}}", re.ASCII)
DEVICE_ID_RULE = f"1 to {LONGEST_DEVICE_ID} ASCII letters, digits and dashes"
DEVICE_ID_DETAIL = f"deviceId must be {DEVICE_ID_RULE}"
LONGEST = 128
"""Most characters of the name of a device, network or device type, of a description, and of a label."""

LONGEST_CONFIGURATION_NAME, LONGEST_VALUE = 32, 128
SECRET_NAME = "jwt.secret"
"""The reference server keeps its signing key under this name, this server elsewhere. The name is reserved, so that nobody mistakes its
value for the key."""


def is_id(text: str) -> bool:
    """Whether a text is the id of a user, network or device type: digits without a sign."""
    return text.isascii() and text.isdigit() and len(text) <= LONGEST_ID


def checked_login(login: str) -> str:
    """A login without the spaces around it.

    :raises BadRequest: it is too short or too long, or has other characters.
    """
    login = login.strip()
    if not SHORTEST_LOGIN <= len(login) <= LONGEST_LOGIN:
        raise InvalidLogin(detail=f"user.login must have {SHORTEST_LOGIN} to {LONGEST_LOGIN} characters")
    if LOGIN.fullmatch(login) is None:
        raise BadRequest(detail="user.login must have only ASCII letters, digits and the characters _ @ . -")
    return login


def check_password(password: str) -> None:
    """Check the length of a password.

    :raises InvalidPassword: it is too short or too long.
    """
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise InvalidPassword(detail=f"user.password must have {PASSWORD_RULE}")


def check_role(role: int | None) -> int:
    """Return a role of a user.

    :raises InvalidRole: there is no such role.
    """
    if role is None or role not in ROLES:
        raise InvalidRole()
    return role


def check_status(status: int | None) -> None:
    """Check the status of a user; ``None`` passes.

    :raises BadRequest: there is no such status.
    """
    if status is not None and status not in STATUSES:
        raise BadRequest(detail="user.status must be 0 (active), 1 (locked out) or 2 (disabled)")


def check_group(name: str | None, description: str | None, member: str) -> None:
    """Check the name and description of a network or device type; ``None`` passes.

    :param member: the member of the request that has both.
    :raises BadRequest: one is too short or too long, or has a NUL character.
    """
    check_length(name, 1, LONGEST, f"{member}.name")
    check_length(description, 0, LONGEST, f"{member}.description")
    check_text(name, f"{member}.name")
    check_text(description, f"{member}.description")


def check_new_device_id(device_id: str) -> None:
    """Check the id of a new device.

    :raises InvalidDeviceId: it does not match :data:`DEVICE_ID`.
    """
    if DEVICE_ID.fullmatch(device_id) is None:
        raise InvalidDeviceId(detail=DEVICE_ID_DETAIL)


def check_device_name(name: str | None) -> None:
    """Check the name of a device; ``None`` passes.

    :raises BadRequest: it is too short or too long, or has a NUL character.
    """
    check_length(name, 1, LONGEST, "device.name")
    check_text(name, "device.name")


def check_label(label: str | None) -> None:
    """Check the label of a device's token; ``None`` passes.

    :raises BadRequest: it is too short or too long.
    """
    check_length(label, 1, LONGEST, "payload.label")


def check_configuration_name(name: str | None) -> None:
    """Check the name of a configuration.

    :raises MissingConfigurationName: it is absent or empty.
    :raises AccessDenied: it is :data:`SECRET_NAME`.
    """
    if not name:
        raise MissingConfigurationName()
    if name == SECRET_NAME:
        raise AccessDenied()


def check_configuration(name: str | None, value: str | None) -> None:
    """Check a configuration before it is stored.

    :raises BadRequest: the name or value is too short or too long, or has a NUL character.
    """
    check_configuration_name(name)
    if name is not None and len(name) > LONGEST_CONFIGURATION_NAME:
        raise InvalidConfigurationName()
    if value is None:
        raise BadRequest(detail="value is missing; give a string")
    check_length(value, 1, LONGEST_VALUE, "value")
    check_text(value, "value")


def check_name(name: str | None, missing: type[ApiError], member: str) -> None:
    """Check the name of a command or notification.

    :param missing: the error class for an absent or empty name.
    :param member: its path in the request, for the error.
    :raises BadRequest: it is too long, or has a NUL character.
    """
    if not name:
        raise missing(detail=f"{member} is missing or empty; give a name as a string")
    if len(name) > MAX_NAME or "\0" in name:
        raise _unfit_text(member)


def check_text(text: str | None, member: str) -> None:
    """Check that every storage can keep a short text of a message; ``None`` passes.

    :param member: its path in the request, for the error.
    :raises BadRequest: it has more than 256 characters, or a NUL character.
    """
    if text is not None and (len(text) > MAX_NAME or "\0" in text):
        raise _unfit_text(member)


def _unfit_text(member: str) -> BadRequest:
    return BadRequest(detail=f"{member} must have at most {MAX_NAME} characters, and no NUL character (\\u0000)")

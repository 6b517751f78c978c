"""Holds what is imported to the rules of the API: a storage gets nothing by a file that no client could have put there."""

from __future__ import annotations

from functools import partial

from dhtwisted.core.addresses import limit_key, plain_address
from dhtwisted.core.rules import (
    check_configuration,
    check_device_name,
    check_group,
    check_label,
    check_name,
    check_new_device_id,
    check_role,
    check_status,
    check_text,
    checked_login,
)
from dhtwisted.errors import ApiError, MissingCommand, MissingNotification
from dhtwisted.kit.password_records import parse_record
from dhtwisted.model import Command, Configuration, Device, DeviceToken, DeviceType, Network, Notification, User

MOST_ADDRESSES = 16
"""Known addresses of a user."""


class Checker:
    """Checks the objects of one file.

    :param any_password: records of passwords are those of a provider of somebody else, who alone knows what is good.
    """

    def __init__(self, any_password=False):
        self._checks = dict(_CHECKS)
        if any_password:
            self._checks[User] = _check_user
        self._taken = {}

    def check(self, entry):
        """Check one.

        :param entry: an :class:`~dhtwisted.transfer.stream.Entry`.
        :raises TransferError: a client could not have made it; names the line and the reason.
        """
        item = entry.item
        check = self._checks.get(type(item))
        try:
            if check is not None:
                check(item)
        except ApiError as error:
            raise entry.refused(error.detail or error.text) from error
        except ValueError as error:
            raise entry.refused(error) from error
        for field in getattr(item, "UNIQUE", ()):
            self._check_free(entry, field, getattr(item, field))

    def _check_free(self, entry, field, value):
        first = value is not None and self._taken.setdefault((type(entry.item), field, value), entry.number)
        if first and first != entry.number:
            differs = "differs in case alone from the login" if field == "login_key" else f"has the {field}"
            raise entry.refused(f"{differs} of line {first}: give one of them another, and export again")


def _check_user(user):
    if checked_login(user.login) != user.login:
        raise ValueError("login has spaces around it")
    check_role(user.role)
    check_status(user.status)
    if len(user.known_addresses) > MOST_ADDRESSES or not all(_is_address(address) for address, _ in user.known_addresses):
        raise ValueError(f"known_addresses must be {MOST_ADDRESSES} addresses at most, of IPv6 networks of 64 bits")


def _check_user_with_record(user):
    _check_user(user)
    try:
        # An empty one is of a user who cannot log in by password.
        return parse_record(user.password) if user.password else None
    except ValueError as error:
        raise ValueError(f"password {error}") from None


def _is_address(text):
    plain = plain_address(text.partition("/")[0])
    return plain is not None and limit_key(plain) == text


def _check_group(member, group):
    check_group(group.name, group.description, member)


def _check_device(device):
    check_new_device_id(device.id)
    check_device_name(device.name)


def _check_configuration(configuration):
    check_configuration(configuration.name, configuration.value)


def _check_device_token(token):
    check_new_device_id(token.device_id)
    check_label(token.label)


def _check_command(command):
    check_new_device_id(command.device_id)
    check_name(command.name, MissingCommand, "name")
    check_text(command.status, "status")


def _check_notification(notification):
    check_new_device_id(notification.device_id)
    check_name(notification.name, MissingNotification, "name")


_CHECKS = {
    User: _check_user_with_record,
    Network: partial(_check_group, "network"),
    DeviceType: partial(_check_group, "deviceType"),
    Device: _check_device,
    Configuration: _check_configuration,
    DeviceToken: _check_device_token,
    Command: _check_command,
    Notification: _check_notification,
}

"""Checks imported objects by the rules of the API, so that an import stores nothing that a client could not have stored."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

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
from dhtwisted.model import (
    Command,
    Configuration,
    Device,
    DeviceToken,
    DeviceType,
    MqttQueued,
    MqttReceived,
    MqttRetained,
    MqttSession,
    Network,
    Notification,
    User,
)
from dhtwisted.model.entity import member_key
from dhtwisted.model.mqtt import LONGEST_NAME, session_key
from dhtwisted.transfer.stream import Entry

MOST_ADDRESSES = 16
"""The most known addresses of a user."""

Check = Callable[[Any], object]
"""Raises ``ApiError`` or ``ValueError`` for an object that a client could not have stored."""


class Checker:
    """Checks the objects of one file.

    :param any_password: accept any password record, because the auth provider of another package uses its own form.
    """

    def __init__(self, any_password: bool = False) -> None:
        self._checks: dict[type, Check] = dict(_CHECKS)
        if any_password:
            self._checks[User] = _check_user
        self._first_lines: dict[tuple[type, str, Any], int] = {}

    def check(self, entry: Entry) -> None:
        """Check one object.

        :raises TransferError: a client could not have stored it; the text names the line and the reason.
        """
        item = entry.item
        check = self._checks.get(type(item))
        try:
            if check is not None:
                check(item)
        except ApiError as error:
            raise entry.error(error.detail or error.text) from error
        except ValueError as error:
            raise entry.error(error) from error
        for field in getattr(item, "UNIQUE", ()):
            self._check_unique(entry, field, getattr(item, field))

    def _check_unique(self, entry: Entry, field: str, value: object) -> None:
        first = value is not None and self._first_lines.setdefault((type(entry.item), field, value), entry.number)
        if first and first != entry.number:
            same = "the login differs only in case from that" if field == "login_key" else f"the {field} is that"
            raise entry.error(f"{same} of line {first}: change one of them, and export again")


def _check_user(user: User) -> None:
    if checked_login(user.login) != user.login:
        raise ValueError("login has spaces around it")
    check_role(user.role)
    check_status(user.status)
    if len(user.known_addresses) > MOST_ADDRESSES or not all(_is_address(address) for address, _ in user.known_addresses):
        raise ValueError(f"known_addresses must be at most {MOST_ADDRESSES} addresses of IPv4, or networks of 64 bits of IPv6")


def _check_user_with_record(user: User) -> None:
    _check_user(user)
    try:
        # A user with an empty record cannot log in by password.
        if user.password:
            parse_record(user.password)
    except ValueError as error:
        raise ValueError(f"password {error}") from None


def _is_address(text: str) -> bool:
    plain = plain_address(text.partition("/")[0])
    return plain is not None and limit_key(plain) == text


def _check_group(member: str, group: Network | DeviceType) -> None:
    check_group(group.name, group.description, member)


def _check_device(device: Device) -> None:
    check_new_device_id(device.id)
    check_device_name(device.name)


def _check_configuration(configuration: Configuration) -> None:
    check_configuration(configuration.name, configuration.value)


def _check_device_token(token: DeviceToken) -> None:
    check_new_device_id(token.device_id)
    check_label(token.label)


def _check_session(session: MqttSession) -> None:
    _check_key(session.id, session_key(session.user_id, session.client_id))
    _check_size(session.client_id, "client_id")


def _check_retained(retained: MqttRetained) -> None:
    _check_size(retained.topic, "topic")
    _check_qos(retained.qos)


def _check_queued(queued: MqttQueued) -> None:
    _check_key(queued.id, member_key(queued.session, queued.number))
    _check_qos(queued.qos)


def _check_received(received: MqttReceived) -> None:
    _check_key(received.id, member_key(received.session, received.packet_id))


def _check_key(key: str, expected: str) -> None:
    if key != expected:
        raise ValueError(f"id must be {expected!r}")


def _check_size(text: str, field: str) -> None:
    if not 1 <= len(text.encode()) <= LONGEST_NAME:
        raise ValueError(f"{field} must have 1 to {LONGEST_NAME} bytes")


def _check_qos(qos: int) -> None:
    if qos not in (0, 1, 2):
        raise ValueError("qos must be 0, 1 or 2")


def _check_command(command: Command) -> None:
    check_new_device_id(command.device_id)
    check_name(command.name, MissingCommand, "name")
    check_text(command.status, "status")


def _check_notification(notification: Notification) -> None:
    check_new_device_id(notification.device_id)
    check_name(notification.name, MissingNotification, "name")


_CHECKS: dict[type, Check] = {
    User: _check_user_with_record,
    Network: partial(_check_group, "network"),
    DeviceType: partial(_check_group, "deviceType"),
    Device: _check_device,
    Configuration: _check_configuration,
    DeviceToken: _check_device_token,
    MqttSession: _check_session,
    MqttRetained: _check_retained,
    MqttQueued: _check_queued,
    MqttReceived: _check_received,
    Command: _check_command,
    Notification: _check_notification,
}

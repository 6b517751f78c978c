"""CONNECT: who the client is, which session it gets, and the answer (MQTT 5.0, sections 3.1 and 3.2; 3.1.1, the same)."""

from __future__ import annotations

import re
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from dhtwisted.core.accounts import login_claims
from dhtwisted.errors import (
    ApiError,
    InvalidCredentials,
    InvalidPacket,
    StorageError,
    TooManyRequests,
    Unauthorized,
    UnknownLogin,
    UserLocked,
)
from dhtwisted.fronts.mqtt import acknowledging, doubts, subscribing, wills
from dhtwisted.fronts.mqtt.catching_up import read_in_flight
from dhtwisted.fronts.mqtt.sending_again import drop_forbidden
from dhtwisted.model import User
from dhtwisted.model.mqtt import ANONYMOUS, LONGEST_NAME
from dhtwisted.wire.mqtt.packets import V3_1, V5, VERSIONS, Connack, Connect, Properties
from dhtwisted.wire.mqtt.reasons import ReasonCode

if TYPE_CHECKING:
    from dhtwisted.core.access import Principal
    from dhtwisted.fronts.mqtt.broker import MqttBroker
    from dhtwisted.fronts.mqtt.session import ClientSession, Key

TOKEN = re.compile(rb"eyJ[\w-]+\.[\w-]+\.[\w-]+")
"""What an access token looks like: it begins with a JSON object in base64. No password of a user is taken for one by chance."""

AS_LONG_AS_CONNECTED = 2**62
"""When the rights of a login by password end: never, unless the user changes."""

MOST_IN_FLIGHT = 65_535
RESPONSE_TOPICS = "dh/response/"
"""Response information: where the answers to requests come ([MQTT-3.1.2-28])."""


async def connect(connection: Any, packet: Connect) -> None:
    """Handle a CONNECT, from who it is to the first packets of the session.

    :raises InvalidPacket: it is refused, with the reason code of the CONNACK.
    """
    broker, properties = connection.broker, packet.properties or Properties()
    if properties.authentication_method is not None:
        raise InvalidPacket(ReasonCode.BAD_AUTHENTICATION_METHOD, "there is no enhanced authentication here")
    will = wills.read(packet)
    client_id = _client_id(broker, packet)
    _take_limits(connection, properties)
    try:
        principal = await _identify(connection, packet)
        if connection.is_over:
            return
        if principal is not None:
            connection.authenticate(principal)
    except ApiError as error:
        raise _refusal(connection, packet, error) from None
    except StorageError as error:
        raise _unavailable(connection, error) from None
    key = (ANONYMOUS if principal is None else principal.user_id, client_id)
    expiry = _expiry(broker, packet, properties)
    if (expiry or broker.shared is not None) and len(client_id.encode()) > LONGEST_NAME:
        raise InvalidPacket(
            ReasonCode.CLIENT_IDENTIFIER_NOT_VALID,
            f"the id of a session that is kept has at most {LONGEST_NAME} bytes, with several nodes that of any session",
        )
    try:
        taken = await _take_session(connection, key, packet.clean_start)
    except StorageError as error:
        raise _unavailable(connection, error) from None
    if taken is None:
        return
    session, is_present = taken
    # What waits in the storage comes first, so what comes meanwhile has to wait there too.
    is_kept = expiry > 0 or session.outgoing.backlog is not None
    session.version, session.expiry, session.is_kept = packet.version, expiry, is_kept
    refused = wills.set_will(broker, session, will)
    if refused is not None:
        raise InvalidPacket(refused.reason_code, refused.text)
    try:
        await broker.save(session)
        await read_in_flight(broker, session)
        await doubts.settle(broker, session)
        await drop_forbidden(broker, session)
    except StorageError as error:
        raise _unavailable(connection, error) from None
    if connection.is_over:
        return
    if is_present:
        # Users and rules may have changed during each wait.
        subscribing.check_rights(connection, session)
    _accept(connection, session, packet, properties, is_present)


def _client_id(broker: MqttBroker, packet: Connect) -> str:
    """[MQTT-3.1.3-5] to [MQTT-3.1.3-8]: without an id the server gives one; 3.1.1 permits that only for a session that is not kept."""
    if packet.client_id:
        return packet.client_id
    if packet.version == V3_1 or (packet.version < V5 and not packet.clean_start):
        raise InvalidPacket(
            ReasonCode.CLIENT_IDENTIFIER_NOT_VALID, "a client without an id must ask for a clean session, in MQTT 3.1.1 or 5.0"
        )
    return broker.new_client_id()


def _take_limits(connection: Any, properties: Properties) -> None:
    """What the client permits to the server."""
    settings = connection.broker.server.settings.mqtt
    connection.most_in_flight = min(properties.receive_maximum or MOST_IN_FLIGHT, settings.receive_maximum)
    if connection.is_v5:
        connection.most_receiving = settings.receive_maximum
        connection.max_packet = properties.maximum_packet_size or connection.max_packet
        connection.gives_reasons = properties.request_problem_information != 0
        connection.most_aliases = min(properties.topic_alias_maximum or 0, settings.topic_alias_maximum)
        if connection.most_aliases:
            connection.aliases = {}


def _expiry(broker: MqttBroker, packet: Connect, properties: Properties) -> int:
    """Seconds for which the session outlives its connection ([MQTT-3.1.2-23]); in 3.x as long as the server permits, or not at all."""
    if packet.version >= V5:
        return broker.bounded_expiry(properties.session_expiry_interval or 0)
    return 0 if packet.clean_start else broker.bounded_expiry(0xFFFFFFFF)


# Who it is


async def _identify(connection: Any, packet: Connect) -> Principal | None:
    """:returns: the user with their rights; ``None`` for a client without credentials.
    :raises Unauthorized: the credentials are wrong, or missing.
    """
    server = connection.broker.server
    if packet.password is None and packet.user_name is None:
        if not server.settings.mqtt.anonymous:
            raise Unauthorized(detail="the server takes no clients without user name and password (mqtt.anonymous)")
        return None
    try:
        password = (packet.password or b"").decode()
    except UnicodeDecodeError:
        raise InvalidCredentials() from None
    if _is_token(packet.password):
        principal = await server.authentication.by_token(password)
        server.logins.note(principal.user)
        return principal
    if not (packet.user_name and packet.user_name.strip() and password):
        raise InvalidCredentials()
    user = await server.logins.log_in(packet.user_name, password, connection.output)
    # Of the record whose password was checked: if the password was changed since then, this login is over.
    valid_from = user.valid_from
    user = await server.entities.get(User, user.id) or user
    server.logins.note(user, connection.output.address)
    server.audit.logged_in(connection.output, user, packet.client_id)
    claims = login_claims(user, server.settings.limits.token_ids)
    return server.authentication.by_claims(replace(claims, valid_from=valid_from, expires=AS_LONG_AS_CONNECTED))


def _is_token(password: bytes | None) -> bool:
    return password is not None and TOKEN.fullmatch(password) is not None


def _refusal(connection: Any, packet: Connect, error: ApiError) -> InvalidPacket:
    """The answer to a client that may not connect. An unknown user and a wrong password look the same."""
    server = connection.broker.server
    if server.audit.is_on and error.code in (Unauthorized.code, TooManyRequests.code):
        if _is_token(packet.password):
            server.audit.failed_authentication(connection.output, error)
        else:
            server.audit.failed_login(connection.output, packet.user_name, packet.client_id, error)
    if isinstance(error, UserLocked) or type(error) is Unauthorized:
        return InvalidPacket(ReasonCode.NOT_AUTHORIZED, error.detail or error.text)
    if isinstance(error, Unauthorized):
        text = InvalidCredentials.text if isinstance(error, UnknownLogin) else error.detail or error.text
        return InvalidPacket(ReasonCode.BAD_USER_NAME_OR_PASSWORD, text)
    if error.code in (TooManyRequests.code, 403):
        return InvalidPacket(ReasonCode.QUOTA_EXCEEDED, error.detail or error.text)
    return InvalidPacket(ReasonCode.SERVER_UNAVAILABLE, error.text)


def _unavailable(connection: Any, error: Exception) -> InvalidPacket:
    answer = connection.broker.server.client_error(error, "CONNECT", connection.output)
    return InvalidPacket(ReasonCode.SERVER_UNAVAILABLE, answer.text)


# Its session


async def _take_session(connection: Any, key: Key, is_clean: bool) -> tuple[ClientSession, bool] | None:
    """Give the connection its session, which another connection may have, on this node or on another.

    :returns: as :func:`_enter`; ``None`` if the client has gone meanwhile.
    """
    broker = connection.broker
    async with AsyncExitStack() as stack:
        if broker.shared is not None:
            await stack.enter_async_context(broker.shared.claimed(key))
        await broker.release_session(key, is_clean)
        return None if connection.is_over else _enter(connection, key, is_clean)


def _enter(connection: Any, key: Key, is_clean: bool) -> tuple[ClientSession, bool]:
    """Give the connection a session: that of before, or a new one ([MQTT-3.1.2-4] to -6)."""
    broker = connection.broker
    session = broker.sessions.get(key)
    if session is not None and (is_clean or not session.expiry):
        broker.end_session(session)
        session = None
    is_present = session is not None
    if session is None:
        bound = broker.find_bound(key)
        if bound:
            broker.counters.bounds[bound] += 1
            raise InvalidPacket(ReasonCode.QUOTA_EXCEEDED, f"the server keeps as many sessions as it may (mqtt.{bound})")
        session = broker.begin_session(key)
    if session.timer is not None:
        session.timer.cancel()
        session.timer = None
    session.ended_at = 0.0
    session.connection, session.principal = connection, connection.principal
    connection.session = session
    return session, is_present


def _accept(connection: Any, session: ClientSession, packet: Connect, properties: Properties, is_present: bool) -> None:
    """Answer, and begin to send."""
    broker = connection.broker
    keep_alive = _keep_alive(broker, packet)
    answer = _connack_properties(connection, session, packet, properties, keep_alive) if connection.is_v5 else None
    if not connection.write(Connack(0, is_present, answer)):
        connection.end(ReasonCode.IMPLEMENTATION_SPECIFIC_ERROR, "the maximum packet size of the client is too small for a CONNACK")
        return
    connection.is_accepted = True
    broker.counters.connects[0] += 1
    connection.watch(keep_alive)
    if broker.is_debugging:
        connection.log.debug(
            "connected by MQTT {version}, keep alive {keepalive} s, session {session}",
            version=VERSIONS[packet.version],
            keepalive=keep_alive,
            session="resumed" if is_present else "new",
            **connection.identity(),
        )
    session.outgoing.link = connection
    connection.quota = connection.most_in_flight
    for delivery in session.outgoing.resume():
        acknowledging.release(connection, delivery)
    session.outgoing.pump()
    if session.device is not None:
        session.device.connected(is_present)


def _keep_alive(broker: MqttBroker, packet: Connect) -> int:
    """Seconds of keep alive. Only MQTT 5.0 lets the server decide ([MQTT-3.1.2-21])."""
    most = int(broker.server.settings.mqtt.keep_alive)
    if packet.version >= V5 and most and not 0 < packet.keep_alive <= most:
        return most
    return packet.keep_alive


def _connack_properties(connection: Any, session: ClientSession, packet: Connect, wanted: Properties, keep_alive: int) -> Properties:
    """What differs from what the client asked for, and the limits of the server (3.2.2.3)."""
    settings = connection.broker.server.settings.mqtt
    return Properties(
        session_expiry_interval=None if session.expiry == (wanted.session_expiry_interval or 0) else session.expiry,
        receive_maximum=settings.receive_maximum,
        maximum_packet_size=settings.packet_size or None,
        assigned_client_identifier=None if packet.client_id else session.client_id,
        topic_alias_maximum=settings.topic_alias_maximum or None,
        server_keep_alive=None if keep_alive == packet.keep_alive else keep_alive,
        response_information=RESPONSE_TOPICS if wanted.request_response_information == 1 else None,
    )

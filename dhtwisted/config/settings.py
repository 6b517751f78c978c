"""All options of the server: name, default, form and reason, declared once.

The file ``conf/devicehive.toml``, the environment variables, the checks and the help are made from these classes. Sizes are integers in
bytes, and durations are floats in seconds. :mod:`dhtwisted.config.sources` fills a :class:`Settings` from file, environment and
command line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from dhtwisted.config.endpoints import check_endpoint, is_tls, uses_proxy_protocol
from dhtwisted.config.kinds import Checked, Choice, Duration, Flag, Hidden, Integer, List, Size, Specification, Text
from dhtwisted.config.mqtt import MqttSettings
from dhtwisted.config.options import option
from dhtwisted.core.addresses import UNIX, parse_network
from dhtwisted.core.quotas import QUOTAS
from dhtwisted.core.rules import LOGIN, LOGIN_RULE, LONGEST_PASSWORD, PASSWORD_RULE, SHORTEST_PASSWORD
from dhtwisted.errors import ProviderError
from dhtwisted.logs.tracing import parse_target
from dhtwisted.providers.lookup import find

_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+)*", re.ASCII)
_PUBLIC_URL = re.compile(r"(?:https?://[^\s?#]+)?")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s]+")


def _check_plain_endpoint(description: str) -> None:
    check_endpoint(description)
    if is_tls(description):
        raise ValueError("cannot begin with tls:, which is for server.listen; use ssl:, which has its own certificate")
    if uses_proxy_protocol(description):
        raise ValueError("cannot begin with haproxy:, which is for server.listen")


def _check_prefix(prefix: str) -> None:
    if _PREFIX.fullmatch(prefix) is None:
        raise ValueError("is neither empty nor a path such as /api without a slash at its end")


def _check_proxy(entry: str) -> None:
    if entry != UNIX:
        try:
            parse_network(entry)
        except ValueError as error:
            raise ValueError(f"is neither an address nor a network nor unix: {error}") from None


def _check_origin(origin: str) -> None:
    if _ORIGIN.fullmatch(origin) is None:
        raise ValueError("is no origin such as https://console.example.com")


def _provider(role: str, optional: bool = False) -> Specification:
    def check(specification: str) -> None:
        if specification or not optional:
            try:
                find(role, specification)
            except ProviderError as error:
                raise ValueError(f"cannot be used: {error}") from error

    return Specification(check)


def _check_public_url(url: str) -> None:
    if _PUBLIC_URL.fullmatch(url) is None:
        raise ValueError("is no URL")


def _check_password(password: str) -> None:
    if password and not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise ValueError("has another length")


def _check_login(login: str) -> None:
    if LOGIN.fullmatch(login) is None:
        raise ValueError("has another length or other characters")


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Where the server listens, and how clients reach it."""

    listen: tuple[str, ...] = option(
        ("tcp:8080:interface=localhost",),
        List("a Twisted endpoint such as tcp:8080:interface=localhost", check_endpoint, at_least=1),
        "Twisted endpoint strings, for TLS with tls: in front (tls:tcp:8443); each serves WebSocket and REST. tcp:8080: open to others",
    )
    prefixes: tuple[str, ...] = option(
        ("", "/api", "/dh"),
        List('"" or a path such as /api', _check_prefix, at_least=1),
        "paths in front of /websocket and /rest; DeviceHive clients use different ones",
    )
    trusted_proxies: tuple[str, ...] = option(
        (),
        List('an address such as 10.0.0.5, a network such as 10.0.0.0/24, or "unix"', _check_proxy),
        "proxies by address or network, unix for those at a unix: endpoint; Forwarded and X-Forwarded-* are read only from them",
        reloads=True,
    )
    public_url: str = option(
        "",
        Checked("a URL such as https://hive.example.com", _check_public_url),
        "the address for clients, when the server is behind a proxy",
    )
    origins: tuple[str, ...] = option(
        (),
        List("an origin such as https://console.example.com", _check_origin),
        "web pages that may connect; empty: any, because tokens are not cookies",
        reloads=True,
    )
    updates_to_inserter: bool = option(True, Flag(), "send command/update to the connection that inserted the command")
    control_socket: str = option(
        "",
        Text(),
        "Unix socket through which devicehive user, token, export, backup and doctor use the running server: a path; empty: beside the "
        'data file, none without a file; "off"',
    )
    refuse_blocked_devices: bool = option(
        False, Flag(), "refuse messages of blocked devices; false: isBlocked is only information", reloads=True
    )


@dataclass(frozen=True, kw_only=True)
class TlsSettings:
    """The certificate of endpoints with tls: in front. Its files are read again when they change."""

    certificate: str = option("", Text(), "PEM file with the certificate, followed by the intermediate certificates", reloads=True)
    key: str = option("", Text(), "PEM file with the private key, mode 0600; empty: in the certificate file", reloads=True)
    client_authority: str = option(
        "", Text(), "PEM file with the authorities of client certificates; empty: clients need no certificate", reloads=True
    )
    client_certificate: str = option(
        "required",
        Choice("required", "optional"),
        "optional: clients without a certificate may connect, but not with a wrong one",
        reloads=True,
    )


@dataclass(frozen=True, kw_only=True)
class StorageSettings:
    """Where data are kept, and how long."""

    provider: str = option(
        "file:devicehive.sqlite", _provider("storage"), "memory: | file:PATH | postgres:DSN; see devicehive --help-providers"
    )
    messages: str = option(
        "", _provider("messages", optional=True), "another provider for commands and notifications only; empty: the storage keeps them too"
    )
    retention: float = option(7 * 86400.0, Duration(), "how long commands and notifications are kept after their arrival; 0s: for ever")


@dataclass(frozen=True, kw_only=True)
class BusSettings:
    """How nodes inform each other about new messages."""

    provider: str = option("local:", _provider("bus"), "local: for a single server | postgres:DSN for several on one database")


@dataclass(frozen=True, kw_only=True)
class AuthSettings:
    """Who may connect.

    ``secret`` comes from the environment, or from systemd if there is no ``secret_file``. The environment takes precedence over the file.
    """

    provider: str = option("jwt:", _provider("auth"), "the provider that checks logins and tokens")
    secret_file: str = option(
        "",
        Text(),
        "file with the signing key, mode 0600; empty: systemd's credential auth-secret, or created at first start beside the data",
    )
    secret: str = option("", Hidden(), "the signing key itself", environment_only=True)
    access_lifetime: float = option(30 * 60.0, Duration(lowest=1), "how long an access token is valid", reloads=True)
    refresh_lifetime: float = option(182 * 86400.0, Duration(lowest=1), "how long a refresh token is valid", reloads=True)
    strict_expiry: bool = option(
        False, Flag(), "end the rights of a connection when its token expires; false: when it closes", reloads=True
    )
    admin_login: str = option("dhadmin", Checked(LOGIN_RULE, _check_login), "first start only: login of the administrator")
    admin_password: str = option(
        "", Hidden(PASSWORD_RULE, _check_password), f"first start only: {PASSWORD_RULE}; empty: a random one, shown once"
    )
    password_cost: int = option(15, Integer(10, 20), "scrypt log2(n): each step doubles time and memory of a login (15: 32 MiB)")


@dataclass(frozen=True, kw_only=True)
class LimitSettings:
    """What one client may use; 0 means no limit."""

    connections: int = option(20000, Integer(), "open connections at the same time", reloads=True)
    connections_per_address: int = option(
        0, Integer(), "open connections from one address (IPv6: one /64) at the same time; many devices can share an address", reloads=True
    )
    message_size: int = option(1024**2, Size(), "size of one incoming message", reloads=True)
    json_depth: int = option(128, Integer(1, 900), "nesting depth of one incoming message")
    list_size: int = option(10000, Integer(1), "largest take, and longest list in a reply over WebSocket", reloads=True)
    list_bytes: int = option(
        4 * 1024**2,
        Size(),
        "size of a list in a reply over WebSocket; a longer list is cut, has the member more, and continues with skip",
        reloads=True,
    )
    output_queue: int = option(
        512 * 1024,
        Size(),
        "unread bytes of a connection before it is closed (16 times as many for one second); it is also closed after 10 s",
        reloads=True,
    )
    output_total: int = option(
        256 * 1024**2,
        Size(),
        "unread bytes of all connections; above it no new request starts, and the connection with the most unread bytes is closed",
        reloads=True,
    )
    subscriptions_per_connection: int = option(1000, Integer(), "subscriptions of a connection; each costs memory and time", reloads=True)
    subscribed_names: int = option(
        10000, Integer(), "devices, networks, device types and names in all subscriptions of a connection", reloads=True
    )
    token_ids: int = option(1000, Integer(), "networks and device types in one token", reloads=True)
    polls: int = option(10000, Integer(), "long polls that wait at the same time", reloads=True)
    requests_per_second: int = option(0, Integer(), "requests of a connection; above it, reading pauses", reloads=True)
    logins_per_minute: int = option(30, Integer(), "failed logins of an address (IPv6: /64), and of a login; then 429", reloads=True)
    handshake_timeout: float = option(
        10.0, Duration(), "time until TLS is ready, and until the head of a request has arrived", reloads=True
    )
    idle_timeout: float = option(
        75.0,
        Duration(),
        "time without a request on an HTTP connection; must be longer than that of a proxy, usually 60s",
        reloads=True,
    )
    body_timeout: float = option(60.0, Duration(), "time until the body of an HTTP request has arrived", reloads=True)
    authenticate_timeout: float = option(60.0, Duration(), "time until a new connection has authenticated", reloads=True)
    ping_interval: float = option(
        30.0, Duration(), "time between pings; a client that is silent for three of them is disconnected", reloads=True
    )


def _quota(name: str) -> Any:
    quota = QUOTAS[name]
    return option(quota.default, Size(most=1_000_000) if quota.is_size else Integer(), quota.meaning, reloads=True)


@dataclass(frozen=True, kw_only=True)
class QuotaSettings:
    """What one user and one device may have and start; 0 means any amount."""

    devices: int = _quota("devices")
    networks: int = _quota("networks")
    device_types: int = _quota("device_types")
    device_tokens: int = _quota("device_tokens")
    data: int = _quota("data")
    device_data: int = _quota("device_data")
    connections: int = _quota("connections")
    subscriptions: int = _quota("subscriptions")
    subscription_ids: int = _quota("subscription_ids")
    requests: int = _quota("requests")
    stored_per_day: int = _quota("stored_per_day")
    device_stored_per_day: int = _quota("device_stored_per_day")
    administrators: int = option(
        10, Integer(), "administrators may have so many times as much, except for quotas of devices; 0: any amount", reloads=True
    )


@dataclass(frozen=True, kw_only=True)
class MetricsSettings:
    """Health and metrics for the operator's tools."""

    listen: tuple[str, ...] = option(
        (),
        List("a Twisted endpoint such as tcp:9090:interface=127.0.0.1", _check_plain_endpoint),
        "Twisted endpoint strings for /health/live, /health/ready and /metrics, without login: do not make them public; empty: off",
    )


@dataclass(frozen=True, kw_only=True)
class LogSettings:
    """What the server logs, and where."""

    format: str = option("text", Choice("text", "json"), "one line for each event, as text or as a JSON object")
    level: str = option("info", Choice("debug", "info", "warn", "error"), "the lowest level that is logged", reloads=True)
    file: str = option("", Text(), "the file; empty: standard output, or twistd.log of a daemon; twistd --logfile takes precedence")
    audit_file: str = option("", Text(), "file for JSON lines about logins, tokens, refusals, and every change of an entity; empty: none")
    trace: tuple[str, ...] = option(
        (),
        List('such as "user:3", "device:pump-4" or "address:192.0.2.7"', parse_target),
        "whom to trace: each of their requests, answers, events and refusals is logged at any level; slow, use it only for a short time",
        reloads=True,
    )


@dataclass(frozen=True, kw_only=True)
class CompatibilitySettings:
    """Behaviour of the DeviceHive reference server that is less secure; all of it is off."""

    secret_encoding: str = option("raw", Choice("raw", "base64-lenient"), "base64-lenient: share tokens with a DeviceHive auth service")
    allow_weak_secret: bool = option(False, Flag(), "accept a signing key that is publicly known or shorter than 32 bytes")
    show_secret: bool = option(False, Flag(), "show the signing key as configuration jwt.secret; false: asterisks", reloads=True)
    unrestricted_token_create: bool = option(False, Flag(), "any client may create a token for any user", reloads=True)
    distinct_login_errors: bool = option(False, Flag(), "answer differently to an unknown login and a wrong password", reloads=True)
    loose_token_lists: bool = option(
        False,
        Flag(),
        "ignore a token's list of device types for a user with all of them; network/get and devicetype/get list all devices",
    )
    tokens_outlive_password: bool = option(False, Flag(), "a password change over the API ends no tokens", reloads=True)
    frozen_connections: bool = option(
        False, Flag(), "an open connection continues when its user is locked or deleted, or their tokens have ended"
    )
    clients_manage_administrators: bool = option(
        False, Flag(), "a client whose token has ManageUser may add, change and delete administrators", reloads=True
    )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The whole configuration, checked and with its defaults filled in."""

    server: ServerSettings = ServerSettings()
    tls: TlsSettings = TlsSettings()
    storage: StorageSettings = StorageSettings()
    bus: BusSettings = BusSettings()
    auth: AuthSettings = AuthSettings()
    limits: LimitSettings = LimitSettings()
    quotas: QuotaSettings = QuotaSettings()
    mqtt: MqttSettings = field(default_factory=MqttSettings)
    metrics: MetricsSettings = MetricsSettings()
    log: LogSettings = LogSettings()
    compatibility: CompatibilitySettings = CompatibilitySettings()

"""Every option of the server: name, default, form and reason, declared once.

The file ``conf/devicehive.toml``, the environment variables, the checks and the help all follow from these classes. Sizes are integers in
bytes, and every duration is a float in seconds. :mod:`dhtwisted.config.sources` fills a :class:`Settings` from file, environment and
command line.
"""

import re
from dataclasses import dataclass, field

from dhtwisted.config.endpoints import check_endpoint, is_tls, uses_proxy_protocol
from dhtwisted.config.kinds import Checked, Choice, Duration, Flag, Hidden, Integer, List, Size, Specification, Text
from dhtwisted.core.addresses import UNIX, parse_network
from dhtwisted.core.quotas import QUOTAS
from dhtwisted.core.rules import LOGIN, LOGIN_RULE, LONGEST_PASSWORD, PASSWORD_RULE, SHORTEST_PASSWORD
from dhtwisted.errors import ProviderError
from dhtwisted.logs.tracing import parse_target
from dhtwisted.providers.lookup import find

_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+)*", re.ASCII)
_PUBLIC_URL = re.compile(r"(?:https?://[^\s?#]+)?")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/\s]+")


def _check_plain_endpoint(description):
    check_endpoint(description)
    if is_tls(description):
        raise ValueError("cannot have tls: in front, which is for server.listen; ssl: has a certificate of its own")
    if uses_proxy_protocol(description):
        raise ValueError("cannot have haproxy: in front, which is for server.listen")


def _check_prefix(prefix):
    if _PREFIX.fullmatch(prefix) is None:
        raise ValueError("is neither empty nor a path such as /api, without a slash at its end")


def _check_proxy(entry):
    if entry != UNIX:
        try:
            parse_network(entry)
        except ValueError as error:
            raise ValueError(f"is neither an address nor a network nor unix: {error}") from None


def _check_origin(origin):
    if _ORIGIN.fullmatch(origin) is None:
        raise ValueError("is no origin such as https://console.example.com")


def _provider(role, optional=False):
    def check(specification):
        if specification or not optional:
            try:
                find(role, specification)
            except ProviderError as error:
                raise ValueError(f"cannot be used: {error}") from error

    return Specification(check)


def _check_public_url(url):
    if _PUBLIC_URL.fullmatch(url) is None:
        raise ValueError("is no URL")


def _check_password(password):
    if password and not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise ValueError("has another length")


def _check_login(login):
    if LOGIN.fullmatch(login) is None:
        raise ValueError("has another length or other characters")


def option(default, kind, reason, environment_only=False, reloads=False):
    """Declare one option of a section.

    :param kind: an object of :mod:`dhtwisted.config.kinds`.
    :param reason: one line for the example file.
    :param environment_only: it has no place in a file, since files are copied and shown.
    :param reloads: a running server takes on its change, see :mod:`dhtwisted.config.reloading`.
    """
    metadata = {"kind": kind, "reason": reason, "environment_only": environment_only, "reloads": reloads}
    return field(default=default, repr=not isinstance(kind, Hidden), metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Where the server listens, and what it tells of itself."""

    listen: tuple[str, ...] = option(
        ("tcp:8080:interface=localhost",),
        List("a Twisted endpoint such as tcp:8080:interface=localhost", check_endpoint, at_least=1),
        "Twisted endpoint strings, for TLS with tls: in front (tls:tcp:8443); each serves WebSocket and REST. Others reach it at tcp:8080",
    )
    prefixes: tuple[str, ...] = option(
        ("", "/api", "/dh"),
        List('"" or a path such as /api', _check_prefix, at_least=1),
        "paths in front of /websocket and /rest; clients of DeviceHive use different ones",
    )
    trusted_proxies: tuple[str, ...] = option(
        (),
        List('an address such as 10.0.0.5, a network such as 10.0.0.0/24, or "unix"', _check_proxy),
        "proxies in front, by address or network, unix for those at a unix: endpoint; Forwarded and X-Forwarded-* count only from them",
        reloads=True,
    )
    public_url: str = option(
        "",
        Checked("a URL such as https://hive.example.com", _check_public_url),
        "the address that clients are told when a proxy hides the server's own",
    )
    origins: tuple[str, ...] = option(
        (),
        List("an origin such as https://console.example.com", _check_origin),
        "web pages that may connect; empty: any, as tokens are no cookies",
        reloads=True,
    )
    updates_to_inserter: bool = option(True, Flag(), "send command/update to the connection that inserted the command")
    control_socket: str = option(
        "",
        Text(),
        "Unix socket by which devicehive user, token, export, backup and doctor act through the running server: a path; empty: beside the "
        'data, none where they are in no file; "off"',
    )
    refuse_blocked_devices: bool = option(False, Flag(), "refuse what blocked devices send; false: isBlocked only informs", reloads=True)


@dataclass(frozen=True, kw_only=True)
class TlsSettings:
    """The certificate of endpoints with tls: in front. Its files are read again when they change."""

    certificate: str = option("", Text(), "PEM file with the certificate, then those between it and its authority", reloads=True)
    key: str = option("", Text(), "PEM file with the private key, mode 0600; empty: in the file of the certificate", reloads=True)
    client_authority: str = option("", Text(), "PEM file with the authorities of clients; empty: clients show no certificate", reloads=True)
    client_certificate: str = option(
        "required",
        Choice("required", "optional"),
        "optional: clients without a certificate may come; with a wrong one they may not",
        reloads=True,
    )


@dataclass(frozen=True, kw_only=True)
class StorageSettings:
    """Where data is kept, and how long."""

    provider: str = option(
        "file:devicehive.sqlite", _provider("storage"), "memory: | file:PATH | postgres:DSN; see devicehive --help-providers"
    )
    messages: str = option(
        "", _provider("messages", optional=True), "another provider for commands and notifications alone; empty: the storage keeps them too"
    )
    retention: float = option(7 * 86400.0, Duration(), "how long commands and notifications are kept, from their arrival; 0s: for ever")


@dataclass(frozen=True, kw_only=True)
class BusSettings:
    """How nodes tell each other of new messages."""

    provider: str = option("local:", _provider("bus"), "local: for a single server | postgres:DSN for several on one database")


@dataclass(frozen=True, kw_only=True)
class AuthSettings:
    """Who may come in.

    ``secret`` comes from the environment, or from systemd when there is no ``secret_file``; the environment wins over the file.
    """

    provider: str = option("jwt:", _provider("auth"), "what checks logins and tokens")
    secret_file: str = option(
        "", Text(), "file with the signing key, mode 0600; empty: systemd's credential auth-secret, or made at first start beside the data"
    )
    secret: str = option("", Hidden(), "the signing key itself", environment_only=True)
    access_lifetime: float = option(30 * 60.0, Duration(lowest=1), "how long an access token is good", reloads=True)
    refresh_lifetime: float = option(182 * 86400.0, Duration(lowest=1), "how long a refresh token is good", reloads=True)
    strict_expiry: bool = option(False, Flag(), "end a connection's rights when its token expires; false: when it closes", reloads=True)
    admin_login: str = option("dhadmin", Checked(LOGIN_RULE, _check_login), "first start only: login of the administrator")
    admin_password: str = option(
        "", Hidden(PASSWORD_RULE, _check_password), f"first start only: {PASSWORD_RULE}; empty: a random one, shown once"
    )
    password_cost: int = option(15, Integer(10, 20), "scrypt log2(n): each step doubles time and memory of a login (15: 32 MiB)")


@dataclass(frozen=True, kw_only=True)
class LimitSettings:
    """What one client may take from the others; 0 means no limit."""

    connections: int = option(20000, Integer(), "open at once", reloads=True)
    connections_per_address: int = option(
        0, Integer(), "open at once from one address, IPv6: one /64; many devices may share one", reloads=True
    )
    message_size: int = option(1024**2, Size(), "of one incoming message", reloads=True)
    json_depth: int = option(128, Integer(1, 900), "nesting of one incoming message")
    list_size: int = option(10000, Integer(1), "largest take, and longest list in a reply over WebSocket", reloads=True)
    list_bytes: int = option(
        4 * 1024**2, Size(), "of a list in a reply over WebSocket; a longer one is cut, has more, and goes on with skip", reloads=True
    )
    output_queue: int = option(
        512 * 1024, Size(), "unread bytes of a connection before it is closed (16 times as many for a second); also 10 s", reloads=True
    )
    output_total: int = option(
        256 * 1024**2,
        Size(),
        "unread bytes of all connections; used up, no new request is begun, and who holds most without reading is closed",
        reloads=True,
    )
    subscriptions_per_connection: int = option(1000, Integer(), "each costs memory and matching", reloads=True)
    subscribed_names: int = option(
        10000, Integer(), "devices, networks, device types and names in all subscriptions of a connection", reloads=True
    )
    token_ids: int = option(1000, Integer(), "networks and device types that one token names", reloads=True)
    polls: int = option(10000, Integer(), "long polls that wait at once", reloads=True)
    requests_per_second: int = option(0, Integer(), "per connection; above it, reading pauses", reloads=True)
    logins_per_minute: int = option(
        30, Integer(), "failed ones, per address (IPv6: /64), of all who are there, and per login; then 429", reloads=True
    )
    handshake_timeout: float = option(10.0, Duration(), "for TLS and the head of a request to come", reloads=True)
    idle_timeout: float = option(
        75.0,
        Duration(),
        "without a request on an HTTP connection; longer than a proxy in front keeps one, which usually is 60s",
        reloads=True,
    )
    body_timeout: float = option(60.0, Duration(), "for the body of an HTTP request to come", reloads=True)
    authenticate_timeout: float = option(60.0, Duration(), "for a new connection to authenticate", reloads=True)
    ping_interval: float = option(30.0, Duration(), "empty pings; a client silent for three of them is gone", reloads=True)


def _quota(name):
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
    administrators: int = option(10, Integer(), "times as much for administrators, but for quotas of devices; 0: any amount", reloads=True)


@dataclass(frozen=True, kw_only=True)
class MetricsSettings:
    """What the operator's own tools may see."""

    listen: tuple[str, ...] = option(
        (),
        List("a Twisted endpoint such as tcp:9090:interface=127.0.0.1", _check_plain_endpoint),
        "Twisted endpoint strings for /health/live, /health/ready and /metrics, without any login: keep them from the public; empty: off",
    )


@dataclass(frozen=True, kw_only=True)
class LogSettings:
    """What the server says of itself, and what of others."""

    format: str = option("text", Choice("text", "json"), "a line of text for each event, or an object of JSON in a line")
    level: str = option("info", Choice("debug", "info", "warn", "error"), "the least important that is logged", reloads=True)
    file: str = option("", Text(), "where to; empty: standard output, or twistd.log of a daemon; twistd --logfile wins")
    audit_file: str = option(
        "", Text(), "file to which JSON lines are appended of logins, tokens, refusals, and every change of an entity; empty: none"
    )
    trace: tuple[str, ...] = option(
        (),
        List('such as "user:3", "device:pump-4" or "address:192.0.2.7"', parse_target),
        "whom to follow: each of their requests, answers, events and refusals is a line, whatever the level; slow, for a while only",
        reloads=True,
    )


@dataclass(frozen=True, kw_only=True)
class CompatibilitySettings:
    """Ways of the DeviceHive reference server that are weaker than ours; every one is off."""

    secret_encoding: str = option("raw", Choice("raw", "base64-lenient"), "base64-lenient shares tokens with a DeviceHive auth service")
    allow_weak_secret: bool = option(False, Flag(), "accept a signing key that is known or shorter than 32 bytes")
    show_secret: bool = option(False, Flag(), "show the signing key as configuration jwt.secret; false: asterisks", reloads=True)
    unrestricted_token_create: bool = option(False, Flag(), "let any client make a token for any user", reloads=True)
    distinct_login_errors: bool = option(False, Flag(), "tell an unknown login from a wrong password", reloads=True)
    loose_token_lists: bool = option(
        False,
        Flag(),
        "a token's list of device types does not count for a user with all of them; network/get and devicetype/get list all devices",
    )
    tokens_outlive_password: bool = option(False, Flag(), "a password that is changed over the API ends no tokens", reloads=True)
    frozen_connections: bool = option(
        False, Flag(), "an open connection goes on when its user is locked or deleted, or their tokens have ended"
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
    metrics: MetricsSettings = MetricsSettings()
    log: LogSettings = LogSettings()
    compatibility: CompatibilitySettings = CompatibilitySettings()

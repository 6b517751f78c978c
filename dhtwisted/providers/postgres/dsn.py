"""The DSN of a provider string: the defaults that we add, and the description that logs may show."""

from __future__ import annotations

import psycopg2
from psycopg2.extensions import parse_dsn

from dhtwisted.errors import ConfigurationError
from dhtwisted.providers.postgres.statements import Parameters

DEFAULTS = {
    "fallback_application_name": "dhtwisted",
    # Of several hosts, use the one that accepts writes. After a failover that is another one.
    "target_session_attrs": "read-write",
    # A connection whose other end has vanished is given up after 25 seconds.
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
}
_ENCODINGS = ("UTF8", "UTF-8")


def parse(dsn: str) -> Parameters:
    """Read a DSN.

    :param dsn: ``key=value ...`` or ``postgresql://...``, as libpq accepts it; its defaults and environment variables apply too.
    :returns: connection parameters, including our defaults.
    :raises ConfigurationError: it is not well formed. The text does not repeat the DSN, which may hold a password.
    """
    try:
        given = parse_dsn(dsn)
    except psycopg2.Error as error:
        raise ConfigurationError(
            "postgres: the DSN cannot be read; write postgres:host=localhost dbname=devicehive user=devicehive"
        ) from error
    if given.get("client_encoding", "UTF8").upper() not in _ENCODINGS:
        raise ConfigurationError("postgres: client_encoding must be UTF8; leave it out of the DSN")
    hosts, ports = (given.get(name, "").count(",") for name in ("host", "port"))
    if ports and ports != max(hosts, given.get("hostaddr", "").count(",")):
        raise ConfigurationError("postgres: the DSN must have one port, or one for each host")
    return DEFAULTS | given | {"client_encoding": "UTF8"}


def describe(parameters: Parameters) -> str:
    """Name the database for a log, without its password."""
    place = parameters.get("host") or parameters.get("hostaddr") or parameters.get("service") or "the default host"
    port = f":{parameters['port']}" if "port" in parameters else ""
    name = parameters.get("dbname") or parameters.get("user") or "of the default name"
    return f"database {name} at {place}{port}"

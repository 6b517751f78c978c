"""What the errors of PostgreSQL and its driver mean to a storage, by SQLSTATE (PostgreSQL manual, appendix A)."""

from __future__ import annotations

import re

import psycopg2
import psycopg2.errors
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionDone, ConnectionLost

from dhtwisted.errors import StorageUnavailable, Unstorable

DRIVER_ERRORS = (psycopg2.Error, psycopg2.Warning, ConnectionDone, ConnectionLost, CancelledError)
"""Errors of a statement that are no defect of the server. For a statement timeout txpostgres raises ``CancelledError``."""

BAD_VALUES = (ValueError, UnicodeEncodeError, OverflowError)
"""Errors of the driver while it quotes values: PostgreSQL has no NUL characters and no lone surrogates."""

_BAD_DATA = ("22", "23", "54")
"""Classes: data exception, integrity constraint violation, program limit exceeded (a text that no index takes)."""

_AWAY = ("08", "25", "40", "53", "55", "57", "58", "XX")
"""Classes: connection, transaction state (the server became read-only), rollback, resources (disk full), objects locked, operator
intervention (shutdown, statement timeout), system error, internal error."""

_NO_LONGER_USABLE = ("25006", "57P01", "57P02", "57P03")
"""The server accepts no writes any more, or shuts down. A new connection may reach a server that does."""

_TAKEN = re.compile(r"\)=\((.*)\)", re.DOTALL)
"""In ``Key (id)=(7) already exists.``, whatever the language of the rest."""

_NO_ACCESS_OR_NO_SUCH_THING = "42"
"""Class: something that a new connection needs is missing or not permitted, for example because the tables belong to another program."""

_REFUSALS = (
    "authentication failed",
    "no password supplied",
    "no pg_hba.conf entry",
    "permission denied for database",
    "certificate verify failed",
    "does not support SSL",
    "invalid integer value",
    "invalid port number",
    "could not match",
    "invalid sslmode value",
    "unrecognized configuration parameter",
)


def translated(error: BaseException) -> BaseException:
    """Translate an error of the driver to the one that a storage raises.

    :returns: ``Unstorable`` or ``StorageUnavailable``; the error itself for a unique violation, which only the caller understands, and for
        a defect.
    """
    state = getattr(error, "pgcode", None) or ""
    if isinstance(error, psycopg2.errors.UniqueViolation):
        return error
    if isinstance(error, BAD_VALUES) or state.startswith(_BAD_DATA):
        return Unstorable(f"a value cannot be kept: {in_one_line(error)}")
    if state.startswith(_AWAY) or not state:
        return StorageUnavailable(f"the database does not answer as it should: {in_one_line(error)}")
    return error


def unique_field(error: psycopg2.errors.UniqueViolation) -> str | None:
    """The column of a unique violation; ``None`` for the key.

    PostgreSQL names the constraint of a column ``<table>_<column>_key``, and that of the key ``<table>_pkey``.
    """
    constraint = error.diag.constraint_name.removeprefix(f"{error.diag.table_name}_")
    return None if constraint == "pkey" else constraint.removesuffix("_key")


def taken_value(error: psycopg2.errors.UniqueViolation) -> str:
    """The value of a unique violation, as text."""
    found = _TAKEN.search(error.diag.message_detail or "")
    assert found is not None
    return found[1]


def ends_connection(error: BaseException) -> bool:
    """Whether the connection is useless after this error, although it may still be open."""
    return getattr(error, "pgcode", None) in _NO_LONGER_USABLE


def is_refusal(error: BaseException) -> bool:
    """Whether a connection was refused for a reason that waiting does not solve, such as a wrong password.

    While it connects, the driver gives no SQLSTATE, only the text of the server and of libpq. If the text is not in English, a refusal
    looks like a database that is away, and the server waits for it.
    """
    text = str(error)
    if (getattr(error, "pgcode", None) or "").startswith(_NO_ACCESS_OR_NO_SUCH_THING):
        return True
    return any(refusal in text for refusal in _REFUSALS) or (
        "FATAL:" in text and "does not exist" in text and ("database" in text or "role" in text)
    )


def in_one_line(error: BaseException) -> str:
    """The text of an error, for logs and messages."""
    if isinstance(error, CancelledError):
        return "a statement took too long"
    return " ".join(str(error).split()) or type(error).__name__

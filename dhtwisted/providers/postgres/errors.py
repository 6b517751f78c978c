"""What the errors of PostgreSQL and its driver mean to a storage, by SQLSTATE (PostgreSQL manual, appendix A)."""

from __future__ import annotations

import re

import psycopg2
import psycopg2.errors
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionDone, ConnectionLost

from dhtwisted.errors import StorageUnavailable, Unstorable

DRIVER_ERRORS = (psycopg2.Error, psycopg2.Warning, ConnectionDone, ConnectionLost, CancelledError)
"""What a statement can fail with when nobody made a mistake. txpostgres makes a ``CancelledError`` of a statement timeout."""

BAD_VALUES = (ValueError, UnicodeEncodeError, OverflowError)
"""What the driver raises while it quotes: NUL characters and lone surrogates are no text to PostgreSQL."""

_BAD_DATA = ("22", "23", "54")
"""Classes: data exception, integrity constraint violation, program limit exceeded (a text that no index takes)."""

_AWAY = ("08", "25", "40", "53", "55", "57", "58", "XX")
"""Classes: connection, transaction state (the server became read-only), rollback, resources (disk full), objects locked, operator
intervention (shutdown, statement timeout), system error, internal error."""

_NO_LONGER_USABLE = ("25006", "57P01", "57P02", "57P03")
"""The server takes no writes any more, or shuts down: another connection may reach one that does."""

_TAKEN = re.compile(r"\)=\((.*)\)", re.DOTALL)
"""In ``Key (id)=(7) already exists.``, whatever the language of the rest."""

_NO_ACCESS_OR_NO_SUCH_THING = "42"
"""Class: what a new connection needs is not there, or not for this role; tables of another program, say."""

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
    """The error that a storage raises for one of the driver.

    :returns: ``Unstorable``, ``StorageUnavailable``, or the error itself: a unique violation, which only the caller understands, or what
        tells of a defect.
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
    """The column of which a unique violation tells; ``None`` for the key.

    PostgreSQL names the constraint of a column ``<table>_<column>_key``, and that of the key ``<table>_pkey``.
    """
    constraint = error.diag.constraint_name.removeprefix(f"{error.diag.table_name}_")
    return None if constraint == "pkey" else constraint.removesuffix("_key")


def taken_value(error: psycopg2.errors.UniqueViolation) -> str:
    """The value of which a unique violation tells, as text."""
    found = _TAKEN.search(error.diag.message_detail or "")
    assert found is not None
    return found[1]


def ends_connection(error: BaseException) -> bool:
    """Whether the connection on which this happened is of no more use, though it may still be open."""
    return getattr(error, "pgcode", None) in _NO_LONGER_USABLE


def is_refusal(error: BaseException) -> bool:
    """Whether a connection was refused for a reason that waiting does not mend: who we are, or what we ask for.

    While a connection is being made the driver tells no SQLSTATE, only the text of the server and of libpq. In another language than
    English a refusal is taken for a database that is away, and waited for.
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

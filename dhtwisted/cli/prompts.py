"""What commands read from a person or a script: passwords, tokens, a confirmation."""

from __future__ import annotations

import getpass
import secrets
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from dhtwisted.errors import AccountError
from dhtwisted.kit.text_files import decode_text

RANDOM_BYTES = 15


@contextmanager
def _reported() -> Iterator[None]:
    """Turn what can go wrong at a terminal or a pipe into an error for the operator.

    :raises AccountError: a signal came, or there is no answer, or it is not text.
    """
    try:
        yield
    except KeyboardInterrupt:
        # The reactor, which handles signals in its own way, does not run yet.
        raise AccountError("ended by a signal") from None
    except EOFError:
        raise AccountError("there was no answer") from None
    except UnicodeError:
        raise AccountError("the input is not text in UTF-8") from None


@_reported()
def read_password(is_random: bool, file: str | None) -> str:
    """Generate a password, or read it from a file, or ask for it on a terminal.

    :param file: a name, ``-`` for standard input, ``None`` to ask.
    :raises AccountError: there is no password, or it is not text.
    :raises OSError: the file cannot be read.
    """
    if is_random:
        return secrets.token_urlsafe(RANDOM_BYTES)
    return _ask_for_password() if file is None else _first_line(file)


def _first_line(name: str) -> str:
    with sys.stdin.buffer if name == "-" else open(name, "rb") as file:
        line = file.readline()
    try:
        return decode_text(line).rstrip("\r\n")
    except ValueError as error:
        raise AccountError(f"the password {error}") from error


def _ask_for_password() -> str:
    if not sys.stdin.isatty():
        raise AccountError("there is no terminal to ask for a password; use --password-file - or --random")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != password:
        raise AccountError("the two passwords are different")
    # A terminal can also deliver what is not UTF-8.
    password.encode()
    return password


@_reported()
def read_token() -> str:
    """Read a token from standard input."""
    return sys.stdin.readline().removeprefix("\ufeff").strip()


@_reported()
def confirm_deletion(login: str) -> None:
    """Ask on a terminal whether to delete a user.

    :raises AccountError: the answer is no, or there is nobody to ask.
    """
    if not sys.stdin.isatty():
        raise AccountError("a deleted user cannot be restored: add --yes to delete, or use: devicehive user disable")
    sys.stderr.write(f"Delete {login!r} for good? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise AccountError("nothing was deleted")

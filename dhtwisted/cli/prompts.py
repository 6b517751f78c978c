"""What ``devicehive user`` and ``devicehive token`` take from a person or a script: passwords, tokens, a yes, a time."""

import getpass
import secrets
import sys

from dhtwisted.errors import AccountError
from dhtwisted.kit.text_files import decode_text

RANDOM_BYTES = 15


def given_to(name, command):
    """Read what a command takes from elsewhere, before anything is opened.

    :param name: such as ``user passwd``.
    :param command: its parsed options.
    :returns: a password, a token, or ``None``.
    :raises AccountError: it is not given, or no text, or a signal came instead.
    :raises OSError: its file cannot be read.
    """
    try:
        if name in ("user add", "user passwd"):
            return _password(command)
        if name == "user delete" and not command["yes"]:
            _ask_for_certainty(command["login"])
        return sys.stdin.readline().removeprefix("\ufeff").strip() if name == "token show" else None
    except KeyboardInterrupt:
        # The reactor, which has its own way with signals, does not run yet.
        raise AccountError("ended by a signal") from None
    except EOFError:
        raise AccountError("there was no answer") from None
    except UnicodeError:
        raise AccountError("what was given is no text in UTF-8") from None


def _password(command):
    if command["random"]:
        return secrets.token_urlsafe(RANDOM_BYTES)
    if command["password-file"] is not None:
        with sys.stdin.buffer if command["password-file"] == "-" else open(command["password-file"], "rb") as file:
            line = file.readline()
        try:
            return decode_text(line).rstrip("\r\n")
        except ValueError as error:
            raise AccountError(f"what was given as the password {error}") from error
    if not sys.stdin.isatty():
        raise AccountError("there is no terminal to ask for a password; say --password-file - or --random")
    password = getpass.getpass("Password: ")
    if getpass.getpass("Again: ") != password:
        raise AccountError("these are two passwords")
    # A terminal hands over what is no UTF-8 as well.
    password.encode()
    return password


def _ask_for_certainty(login):
    """Ask on a terminal whether a user is to be deleted.

    :raises AccountError: he is not, or there is nobody to ask.
    """
    if not sys.stdin.isatty():
        raise AccountError("a user who is deleted does not come back: say --yes, or use: devicehive user disable")
    sys.stderr.write(f"Delete {login!r} for good? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise AccountError("nothing was deleted")

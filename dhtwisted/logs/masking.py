"""Text for logs: on one line, of limited length, and without secrets.

The server logs no secret on purpose. This is the last protection, for texts of others: errors of libraries, tracebacks, what clients sent.
It recognizes secrets by their form.
"""

from __future__ import annotations

import re
import secrets
from hashlib import blake2b

LONGEST = 16 * 1024
"""Characters of one text; a traceback with all its frames has about 5,000. journald cuts lines at 48 KiB."""

_READ = 4 * LONGEST
"""Characters that are searched. More than :data:`LONGEST`, because a secret is recognized only as a whole."""

MASK = "***"

_NAME = r"(?:password|passwd|passphrase|secret|token|api[_-]?key)(?!_(?:file|cost)\b)[\w-]{0,16}"
_QUOTED = r"""\\*"(?:[^"\\]|\\[^"]){0,1024}\\*"?|\\*'(?:[^'\\]|\\[^']){0,1024}\\*'?"""
"""Repetitions are limited, so that no text of a client can make the search slow."""

_MASKS = (
    # A JSON Web Token, whole or cut.
    (re.compile(r"eyJ[A-Za-z0-9_-]{5,}(?:\.[A-Za-z0-9_-]*){0,2}"), MASK),
    (re.compile(r"(?i)\b(bearer +|authorization\W{1,4}basic +)[^\s\"',;]+"), rf"\1{MASK}"),
    # postgresql://user:password@host
    (re.compile(r"(://[^\s:/@]{0,256}):[^\s]{0,512}@"), rf"\1:{MASK}@"),
    # password=..., access_token=..., 'token': '...', {"password": "..."}, also within quotes of quotes.
    (re.compile(rf"(?i)({_NAME}[\"'\\]{{0,4}} ?= ?)(?:{_QUOTED}|[^\s,;&)\]}}]+)"), rf"\1{MASK}"),
    (re.compile(rf"(?i)({_NAME}\\?[\"'] ?: ?)(?:{_QUOTED})"), rf"\1{MASK}"),
    # Records of passwords.
    (re.compile(r"\$(scrypt|devicehive)\$[^\s\"',]+"), rf"$\1${MASK}"),
)
_SECRET_NAME = re.compile(_NAME, re.IGNORECASE)


def mask(text: str) -> str:
    """Hide what looks like a password, a token or a key, and cut the text after :data:`LONGEST` characters."""
    length, text = len(text), text[:_READ]
    for pattern, replacement in _MASKS:
        text = pattern.sub(replacement, text)
    return text if length <= LONGEST and len(text) <= LONGEST else f"{text[:LONGEST]}... (cut, {length} characters)"


_KEY = secrets.token_bytes(16)


def digest(text: str) -> str:
    """A stand-in for a text that may be a secret. It is the same for the same text until the process ends, and does not reveal the text."""
    return f"#{blake2b(text.encode(errors='surrogatepass'), digest_size=6, key=_KEY).hexdigest()}"


def is_secret_name(name: str) -> bool:
    """Whether a field of this name may contain a secret."""
    return _SECRET_NAME.search(name) is not None


def escaped(text: str) -> str:
    """Escape characters that a terminal or a reader of lines would interpret: control characters, ends of lines, marks of text direction,
    lone surrogates. The result has ``\\n``, ``\\x1b``, ``\\u202e`` instead.
    """
    return text if text.isprintable() else "".join(character if character.isprintable() else _escape(character) for character in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


def encodable(text: str) -> str:
    """The text with lone surrogates escaped: no encoding accepts them, nor every reader of JSON."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="backslashreplace").decode()
    return text

"""Text for logs: in one line, of bounded length, and without what must stay secret.

Nothing secret is logged on purpose. This is the last line of defence, for texts that others made: errors of libraries, tracebacks, what
clients sent. It knows what secrets look like, not what they are.
"""

import re
import secrets
from hashlib import blake2b

LONGEST = 16 * 1024
"""Characters of one text; a traceback with all its frames has about 5,000. journald cuts lines at 48 KiB."""

_READ = 4 * LONGEST
"""Characters that are looked at: a secret that begins within the bound must be known by its end."""

MASK = "***"

_NAME = r"(?:password|passwd|passphrase|secret|token|api[_-]?key)(?!_(?:file|cost)\b)[\w-]{0,16}"
_QUOTED = r"""\\*"(?:[^"\\]|\\[^"]){0,1024}\\*"?|\\*'(?:[^'\\]|\\[^']){0,1024}\\*'?"""
"""Repetitions have bounds: whoever causes the text must not make this take long."""

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


def mask(text):
    """Make a text fit for a log: whatever looks like a password, a token or a key is hidden, and what is beyond :data:`LONGEST` cut off."""
    length, text = len(text), text[:_READ]
    for pattern, replacement in _MASKS:
        text = pattern.sub(replacement, text)
    return text if length <= LONGEST and len(text) <= LONGEST else f"{text[:LONGEST]}... (cut, {length} characters)"


_KEY = secrets.token_bytes(16)


def digest(text):
    """What stands for a text that may be a secret: the same for the same text until the process ends, and nothing to guess the text by."""
    return f"#{blake2b(text.encode(errors='surrogatepass'), digest_size=6, key=_KEY).hexdigest()}"


def is_secret_name(name):
    """Whether a field of this name may hold a secret."""
    return _SECRET_NAME.search(name) is not None


def escaped(text):
    """Have a text show what a terminal or a reader of lines would obey: control characters, ends of lines of any sort, marks that turn the
    direction of writing, lone surrogates. They come out as ``\\n``, ``\\x1b``, ``\\u202e``.
    """
    return text if text.isprintable() else "".join(character if character.isprintable() else _escape(character) for character in text)


def _escape(character):
    return character.encode("unicode_escape").decode()


def encodable(text):
    """The text without lone surrogates, which no encoding takes and not every reader of JSON."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="backslashreplace").decode()
    return text

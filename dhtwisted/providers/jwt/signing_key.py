"""The signing key of tokens: from the environment, from a file, or created at the first start.

With the key, anybody can make tokens for every user. So files that others can read are refused, and so are known or short keys, unless the
configuration permits them.
"""

from __future__ import annotations

import hmac
import os
import secrets
import stat
import tempfile
from base64 import b64encode
from pathlib import Path
from typing import Any

from dhtwisted.errors import ConfigurationError
from dhtwisted.interfaces import IStorage
from dhtwisted.kit.private_files import give_to_owner_of
from dhtwisted.kit.text_files import BYTE_ORDER_MARK, UTF_16_ERROR, is_utf_16

SHORTEST_KEY = 32
FILE_NAME = "devicehive.secret"
GIVEN = "DHTWISTED_AUTH_SECRET or credential auth-secret"
_KNOWN_SECRETS = (b"secret", b"devicehive")
_ALPHABET = {character: value for value, character in enumerate(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")}
_PADDING = 127
_ALPHABET[ord("=")] = _PADDING


def _cure(place: str | Path = FILE_NAME) -> str:
    made = f"head -c {SHORTEST_KEY} /dev/urandom | base64"
    return f"make one with: {made}" if place == GIVEN else f"make one with: (umask 077; {made} > {place})"


class SigningKey(bytes):
    """An HMAC key.

    :ivar secret: the text of the key.
    :ivar path: the file of the key; ``None`` for no file.
    """

    secret: str
    path: Path | None
    _seen: tuple[int, int, int] | None
    _problem: str | None

    def __new__(cls, key: bytes, secret: bytes, path: Path | None = None) -> SigningKey:
        self = super().__new__(cls, key)
        self.secret = secret.decode("latin-1")
        self.path = path
        self._seen = self._problem = None
        return self

    def problem(self) -> str:
        """Compare the key with its file. The file is read again if it has changed.

        :returns: as :meth:`dhtwisted.interfaces.ISelfCheck.problem`.
        """
        if self.path is None:
            return ""
        seen = _state(self.path)
        if self._problem is None or seen != self._seen:
            self._seen, self._problem = seen, self._compare(self.path)
        return self._problem

    def _compare(self, path: Path) -> str:
        end = "when the server starts again no token of now is good; put it back from a backup, or have everybody log in anew then"
        try:
            same = _without_end_of_line(path.read_bytes()) == self.secret.encode("latin-1")
        except OSError as error:
            return f"{path}: the signing key in force cannot be read any more ({error.strerror}): {end}"
        return "" if same else f"{path}: is not the signing key in force, which stays as it is: {end}"


def fingerprint(key: bytes) -> int:
    """Compute a number of 30 bits, never 0, that is equal for equal keys and reveals nothing about the key.

    :param key: bytes.
    """
    digest = hmac.digest(key, b"dhtwisted: servers on one storage have one signing key", "sha256")
    return (int.from_bytes(digest[:4], "big") >> 2) or 1


def find_key(settings: Any, storage: IStorage) -> SigningKey:
    """Find the signing key, or create it at the first start.

    :param settings: the whole configuration.
    :param storage: the opened storage. A new key is created in its ``state_directory``. A volatile storage without a directory gets a key
        that ends with the process, like its users.
    :returns: a :class:`SigningKey`.
    :raises ConfigurationError: there is no place for a key, or the key or its file is not safe.
    """
    place, secret, path = _find_secret(settings.auth, storage)
    return SigningKey(_checked(settings, place, secret), secret, path)


def look_for_key(settings: Any, storage: IStorage) -> SigningKey | None:
    """Find the signing key, but do not create one.

    :param storage: as for :func:`find_key`; it need not be open.
    :returns: the key; ``None`` if the first start will create one.
    :raises ConfigurationError: as :func:`find_key`.
    """
    path = path_beside(settings.auth, storage)
    return None if path is not None and not path.exists() else find_key(settings, storage)


def path_beside(auth: Any, storage: IStorage) -> Path | None:
    """The path of a created key; ``None`` if the configuration has a key, or there is no directory."""
    return None if auth.secret or auth.secret_file or storage.state_directory is None else Path(storage.state_directory, FILE_NAME)


def _checked(settings: Any, place: str, secret: bytes) -> bytes:
    """Make the key of a secret.

    :raises ConfigurationError: the key is not safe.
    """
    lenient = settings.compatibility.secret_encoding == "base64-lenient"
    key = decode_lenient(secret) if lenient else secret
    if not key:
        raise ConfigurationError(f"{place}: the key is empty; {_cure(place)}")
    if secret.startswith(BYTE_ORDER_MARK):
        raise ConfigurationError(f"{place}: begins with a byte order mark, which would be a part of the key; save it without")
    if is_utf_16(secret):
        raise ConfigurationError(f"{place}: {UTF_16_ERROR}")
    if not settings.compatibility.allow_weak_secret:
        _refuse_weak(place, secret, key)
    return key


def decode_lenient(secret: bytes) -> bytes:
    """Decode base64 as the reference server does: other characters are skipped, and an incomplete last group of four is dropped."""
    values = [_ALPHABET[character] for character in secret if character in _ALPHABET]
    key = bytearray()
    for first, second, third, fourth in zip(*[iter(values)] * 4, strict=False):
        key.append((first << 2 | second >> 4) & 255)
        if third != _PADDING:
            key.append((second << 4 | third >> 2) & 255)
        if fourth != _PADDING:
            key.append((third << 6 | fourth) & 255)
    return bytes(key)


def _find_secret(auth: Any, storage: IStorage) -> tuple[str, bytes, Path | None]:
    if auth.secret:
        return GIVEN, auth.secret.encode(), None
    if auth.secret_file:
        return auth.secret_file, _read(Path(auth.secret_file)), Path(auth.secret_file)
    path = path_beside(auth, storage)
    if path is not None:
        if not path.exists():
            _make(path)
        return str(path), _read(path), path
    if storage.durability == "volatile":
        return "the key of this process", _new_secret(), None
    raise ConfigurationError(f"auth.secret_file: this storage has no directory for a key, so it must be given; {_cure()}")


def _read(path: Path) -> bytes:
    try:
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            raise ConfigurationError(f"{path}: others may read or change the signing key; run: chmod 600 {path}")
        secret = path.read_bytes()
    except FileNotFoundError as error:
        raise ConfigurationError(f"{path}: the signing key is not there; {_cure(path)}") from error
    except OSError as error:
        cure = "name another in auth.secret_file" if path.is_dir() else "run this as the server's user, who must be its owner"
        raise ConfigurationError(f"{path}: the signing key cannot be read ({error.strerror}); {cure}") from error
    return _without_end_of_line(secret)


def _without_end_of_line(secret: bytes) -> bytes:
    """Remove the line end of an editor or a shell, which does not belong to the key."""
    return secret.removesuffix(b"\n").removesuffix(b"\r")


def _state(path: Path) -> tuple[int, int, int] | None:
    """Values that change when the file is written or replaced; ``None`` for no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _new_secret() -> bytes:
    """Make a secret that is long enough with and without :func:`decode_lenient`."""
    return b64encode(secrets.token_bytes(48))


def _make(path: Path) -> None:
    """Write a new key. The file appears completely or not at all, and others can never read it, whatever the umask."""
    try:
        descriptor, unfinished = tempfile.mkstemp(prefix=f"{FILE_NAME}.", dir=path.parent)
        try:
            with open(descriptor, "wb") as file:
                give_to_owner_of(path.parent, descriptor)
                file.write(_new_secret() + b"\n")
                file.flush()
                os.fsync(descriptor)
            _link(unfinished, path)
        finally:
            os.unlink(unfinished)
    except OSError as error:
        raise ConfigurationError(f"{path}: the signing key cannot be written ({error.strerror}); name one in auth.secret_file") from error


def _link(unfinished: str, path: Path) -> None:
    try:
        os.link(unfinished, path)
    except FileExistsError:
        return  # Another server in this directory was first. Both use its key.
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _refuse_weak(place: str, secret: bytes, key: bytes) -> None:
    if secret in _KNOWN_SECRETS:
        raise ConfigurationError(f"{place}: everybody knows this key; {_cure(place)}, or set compatibility.allow_weak_secret")
    if len(key) < SHORTEST_KEY:
        reason = f"the key has {len(key)} bytes, less than {SHORTEST_KEY}"
        raise ConfigurationError(f"{place}: {reason}; {_cure(place)}, or set compatibility.allow_weak_secret")

"""Hash passwords with scrypt, off the reactor thread, and verify what other schemes left behind.

A record is text that says how it was made: ``$scrypt$<log2 n>$<r>$<p>$<salt>$<hash>`` in base64, or ``$devicehive$<salt>$<hash>`` for
users imported from a DeviceHive server, whose hash is base64 of SHA-256 over salt text and password.
"""

import base64
import binascii
import hashlib
import hmac
import secrets

from twisted.internet.threads import deferToThreadPool
from twisted.python.threadpool import ThreadPool

from dhtwisted.errors import BadRequest, ServiceUnavailable, TooManyRequests

THREADS = 2
QUEUE_BOUND = 64
"""Hashes under way or waiting. At cost 15 that is about three seconds of work; more callers than that are better told to come back."""

_BLOCK_SIZE, _PARALLEL, _HASH_LENGTH, _SALT_LENGTH = 8, 1, 32, 16
_HIGHEST_COST = 20


class PasswordHasher:
    """Makes and verifies records.

    :param reactor: hands results back to the reactor thread.
    :param cost: scrypt's log2(n) for new records, 10 to 20.
    """

    def __init__(self, reactor, cost):
        self._reactor = reactor
        self._cost = cost
        self._pool = ThreadPool(minthreads=0, maxthreads=THREADS, name="passwords")
        self._under_way = 0
        self._closed = False
        self._decoy = _format_scrypt(cost, secrets.token_bytes(_SALT_LENGTH), secrets.token_bytes(_HASH_LENGTH))

    async def hash(self, password):
        """Make a record of a new password.

        :raises BadRequest: the password is no encodable text.
        :raises TooManyRequests: too many hashes are waiting already.
        """
        return await self._in_thread(make_record, password, self._cost)

    async def verify(self, password, record):
        """Check a password in about the time that a new record takes, whatever the record is.

        :param record: ``User.password``; ``None`` for a user who does not exist.
        :returns: true or false; false for a record that cannot be read.
        :raises TooManyRequests: too many hashes are waiting already.
        """
        return await self._in_thread(_verify, _encode(password), record, self._decoy)

    def needs_upgrade(self, record):
        """Say whether a record should be made anew at the next occasion: another scheme or another cost."""
        return not record.startswith(f"$scrypt${self._cost}${_BLOCK_SIZE}${_PARALLEL}$")

    async def close(self):
        """Drop what waits, finish what runs, end the threads."""
        self._closed = True
        if self._pool.started:
            # Stopping joins the threads, so it is done in one of the reactor's: a hash of cost 20 takes seconds.
            await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), self._pool.stop)

    async def _in_thread(self, function, *arguments):
        if self._closed:
            raise ServiceUnavailable()
        if self._under_way >= QUEUE_BOUND:
            raise TooManyRequests(detail="too many passwords are being checked at this moment")
        if not self._pool.started:
            self._pool.start()
        self._under_way += 1
        try:
            return await deferToThreadPool(self._reactor, self._pool, self._unless_closed, function, *arguments)
        finally:
            self._under_way -= 1

    def _unless_closed(self, function, *arguments):
        if self._closed:
            raise ServiceUnavailable()
        return function(*arguments)


def make_record(password, cost):
    """Make a record in this thread, for scripts.

    :raises BadRequest: the password is no encodable text.
    """
    secret = _encode(password)
    if secret is None:
        raise BadRequest(detail="the password must be valid Unicode")
    salt = secrets.token_bytes(_SALT_LENGTH)
    return _format_scrypt(cost, salt, _scrypt(secret, salt, cost, _BLOCK_SIZE, _PARALLEL))


def _encode(password):
    """Turn a password into bytes as it was given; ``None`` for what has no UTF-8, such as a lone surrogate."""
    try:
        return password.encode()
    except UnicodeEncodeError:
        return None


def _format_scrypt(cost, salt, digest):
    return f"$scrypt${cost}${_BLOCK_SIZE}${_PARALLEL}${base64.b64encode(salt).decode()}${base64.b64encode(digest).decode()}"


def _verify(secret, record, decoy):
    scheme = _scheme(record)
    if scheme == "scrypt" and secret is not None:
        return _verify_scrypt(secret, record)
    # The caller must not learn from the time taken that there is no such user, or that the record is of a fast scheme.
    _verify_scrypt(secret or b"", decoy)
    return scheme == "devicehive" and secret is not None and _verify_devicehive(secret, record)


def _scheme(record):
    return record.split("$", 2)[1] if record and record.startswith("$") else ""


def _verify_scrypt(secret, record):
    try:
        _, _, cost, block_size, parallel, salt, digest = record.split("$")
        cost, block_size, parallel = int(cost), int(block_size), int(parallel)
        salt, digest = base64.b64decode(salt, validate=True), base64.b64decode(digest, validate=True)
    except (ValueError, binascii.Error):
        return False
    if not (1 <= cost <= _HIGHEST_COST and 1 <= block_size <= 16 and 1 <= parallel <= 16 and digest):
        return False
    return hmac.compare_digest(_scrypt(secret, salt, cost, block_size, parallel, len(digest)), digest)


def _scrypt(secret, salt, cost, block_size, parallel, length=_HASH_LENGTH):
    # OpenSSL refuses to use more than 32 MiB unless told, which cost 15 just exceeds.
    memory = 128 * block_size * (2**cost + parallel) + 1024**2
    return hashlib.scrypt(secret, salt=salt, n=2**cost, r=block_size, p=parallel, maxmem=memory, dklen=length)


def _verify_devicehive(secret, record):
    _, _, salt, digest = [*record.split("$"), "", ""][:4]
    expected = base64.b64encode(hashlib.sha256(salt.encode() + secret).digest())
    return hmac.compare_digest(expected, digest.encode())

"""Hashes passwords with scrypt in threads, and verifies records of other schemes."""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from dhtwisted.errors import BadRequest, Overloaded, ServiceUnavailable, TooManyRequests
from dhtwisted.kit.fair_queue import FairQueue
from dhtwisted.kit.password_records import Cost, DeviceHiveRecord, ScryptRecord, format_scrypt, parse_record
from dhtwisted.kit.reactor import IReactor

T = TypeVar("T")


THREADS = 2
QUEUE_BOUND = 64
"""Hashes that run or wait. At cost 15 this is about three seconds of work. Further callers get an error and can try again; the client with
most waiting hashes loses one first."""

PATIENCE = 5
"""Seconds that a hash waits for its turn. A request has nine in all, so a hash that waited longer would be computed in vain."""

_HASH_LENGTH, _SALT_LENGTH = 32, 16


class PasswordHasher:
    """Makes and verifies records.

    :param reactor: brings results back to the reactor thread.
    :param cost: scrypt's log2(n) for new records, 10 to 20.
    :ivar costs: the known costs of records. Every check computes a hash of each cost, whatever the record is, so that the time does not
        reveal anything about the record.
    """

    log = Logger()

    def __init__(self, reactor: IReactor, cost: int) -> None:
        self._reactor = reactor
        self._cost = cost
        self.costs = {Cost(cost)}
        self._pool = ThreadPool(minthreads=0, maxthreads=THREADS, name="passwords")
        # A hash is short, so one client may use both threads; but clients are served in turn.
        self._turns = FairQueue(
            reactor, THREADS, "the threads that hash passwords", PATIENCE, max_places_each=THREADS, max_waiting=QUEUE_BOUND - THREADS
        )
        self._closed = False

    async def hash(self, password: str) -> str:
        """Make a record of a new password.

        :raises BadRequest: the password cannot be encoded.
        :raises TooManyRequests: the threads are busy with other passwords.
        """
        return await self._in_thread(make_record, password, self._cost)

    async def verify(self, password: str, record: str | None) -> bool:
        """Check a password. This takes the same time for every record.

        :param record: ``User.password``; ``None`` for a user who does not exist.
        :returns: true or false; false for a record that cannot be checked.
        :raises TooManyRequests: the threads are busy with other passwords.
        """
        try:
            parsed = parse_record(record) if record else None
        except ValueError as error:
            self.log.warn("A password record {reason}: nobody can log in with it", reason=str(error))
            parsed = None
        if isinstance(parsed, ScryptRecord):
            self.learn(parsed.cost)
        try:
            return await self._in_thread(_verify, _encode(password), parsed, sorted(self.costs))
        except (ValueError, MemoryError) as error:
            self.log.warn("A password could not be checked: {error!r}", error=error)
            return False

    def learn(self, cost: Cost) -> None:
        """Add a cost that every check computes from now on."""
        if cost not in self.costs:
            self.costs = self.costs | {cost}
            self.log.info("Records of passwords have costs {costs}: each login takes the time of all of them", costs=sorted(self.costs))

    def needs_upgrade(self, record: str) -> bool:
        """Whether a record has another scheme or another cost, so that it should be replaced at the next login."""
        parsed = parse_record(record)
        return not isinstance(parsed, ScryptRecord) or parsed.cost != Cost(self._cost)

    async def close(self) -> None:
        """Fail what waits, finish what runs, end the threads."""
        self._closed = True
        self._turns.drop(ServiceUnavailable())
        if self._pool.started:
            # Stopping waits for the threads, so a thread of the reactor does it: a hash of cost 20 takes seconds.
            await deferToThreadPool(self._reactor, self._reactor.getThreadPool(), self._pool.stop)

    async def _in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        if self._closed:
            raise ServiceUnavailable()
        if not self._pool.started:
            self._pool.start()
        try:
            return await self._turns.run(deferToThreadPool, self._reactor, self._pool, function, *arguments)
        except Overloaded:
            raise TooManyRequests(detail="too many passwords are being checked at this moment") from None


def make_record(password: str, cost: int) -> str:
    """Make a record in this thread, for scripts.

    :raises BadRequest: the password cannot be encoded.
    """
    secret = _encode(password)
    if secret is None:
        raise BadRequest(detail="the password must be valid Unicode")
    salt = secrets.token_bytes(_SALT_LENGTH)
    return format_scrypt(ScryptRecord(Cost(cost), salt, _scrypt(secret, salt, Cost(cost), _HASH_LENGTH)))


def _encode(password: str) -> bytes | None:
    """Encode a password without changes; ``None`` if it has no UTF-8, for example because of a lone surrogate."""
    try:
        return password.encode()
    except UnicodeEncodeError:
        return None


def _verify(secret: bytes | None, record: ScryptRecord | DeviceHiveRecord | None, costs: list[Cost]) -> bool:
    """Compare a password with a record. The work is the same for any record.

    :param secret: the password in bytes, or ``None``.
    :param record: from :func:`parse_record`, or ``None``.
    :param costs: the known costs.
    """
    is_right = isinstance(record, DeviceHiveRecord) and _is_devicehive(secret or b"", record)
    for cost in costs:
        if isinstance(record, ScryptRecord) and record.cost == cost:
            is_right = hmac.compare_digest(_scrypt(secret or b"", record.salt, cost, len(record.digest)), record.digest)
        else:
            _scrypt(secret or b"", bytes(_SALT_LENGTH), cost, _HASH_LENGTH)
    return is_right and secret is not None


def _scrypt(secret: bytes, salt: bytes, cost: Cost, length: int) -> bytes:
    # By default OpenSSL uses at most 32 MiB, which cost 15 just exceeds.
    return hashlib.scrypt(secret, salt=salt, n=2**cost.log_n, r=cost.r, p=cost.p, maxmem=cost.memory + 1024**2, dklen=length)


def _is_devicehive(secret: bytes, record: DeviceHiveRecord) -> bool:
    expected = base64.b64encode(hashlib.sha256(record.salt.encode() + secret).digest())
    return hmac.compare_digest(expected, record.digest.encode())

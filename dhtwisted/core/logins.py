"""Logins by password: who may try, what is counted, and from which addresses a user has logged in.

An attacker who guesses passwords is stopped, and locks nobody out. Failures are counted for an address, for a login, and for both together.
When many addresses try one login, its count refuses all addresses except those from which the user has logged in by password lately. The
user record has these addresses, so that each node knows them, also after a restart.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from functools import partial
from hashlib import blake2b
from operator import itemgetter
from typing import TYPE_CHECKING

from twisted.logger import Logger

from dhtwisted.core.addresses import limit_key
from dhtwisted.core.coroutines import run
from dhtwisted.core.rules import LONGEST_LOGIN
from dhtwisted.core.throttle import MAX_KEYS, FailureThrottle
from dhtwisted.errors import InvalidCredentials, TooManyRequests, UnknownLogin, UserLocked
from dhtwisted.kit.current_client import CURRENT
from dhtwisted.logs.masking import digest
from dhtwisted.model import EntityQuery, User, fold_login

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IReactorTime

    from dhtwisted.core.entity_cache import EntityCache
    from dhtwisted.interfaces import IAuthProvider, IConnection

LAST_LOGIN_INTERVAL = 1000
"""Milliseconds between two writes of a user's last login, at least."""

DAY = 86_400_000
KNOWN_FOR = 30 * DAY
"""Milliseconds for which an address stays known."""

MOST_KNOWN = 16
"""Addresses of a user that are kept; the one unused for longest is removed."""


class Logins:
    """Checks logins by password.

    :param reactor: gives the time.
    :param per_minute: failures that are permitted for an address, for a login, and for both together; 0 for any number.
    :param entities: the server's :class:`~dhtwisted.core.entity_cache.EntityCache`.
    :param auth: an ``IAuthProvider``.
    :param refused: called with the name of the limit when it refuses a try.
    """

    log = Logger()

    def __init__(
        self, reactor: IReactorTime, per_minute: int, entities: EntityCache, auth: IAuthProvider, refused: Callable[[str], object]
    ) -> None:
        self._now = lambda: int(reactor.seconds() * 1000)
        # One for each kind of key: an attacker who fills one of them does not fill the others.
        self._of_address, self._of_login, self._of_pair = (FailureThrottle(reactor, per_minute) for _ in range(3))
        self._entities = entities
        self._auth = auth
        self._refused = refused
        self._noting: dict[int, dict[str, None]] = {}
        self._names: OrderedDict[str, str] = OrderedDict()
        self._secret = secrets.token_bytes(16)

    def set_limit(self, per_minute: int) -> None:
        """Permit another number of failures. The counts start again."""
        for throttle in (self._of_address, self._of_login, self._of_pair):
            throttle.set_limit(per_minute)

    async def log_in(self, login: str, password: str, output: IConnection) -> User:
        """Check a password, unless too many were wrong lately.

        :param output: the connection of the client.
        :returns: the user, as the auth provider gives it.
        :raises TooManyRequests: the password was not checked. The ``login`` of the error is the user's, if it was found lately.
        :raises UnknownLogin: there is no such login.
        :raises InvalidCredentials: the password is wrong.
        :raises UserLocked: the password is right, but the user is not active.
        """
        address, key = limit_key(output.address), fold_login(login[:LONGEST_LOGIN])
        attempt = await self._admit(address, key, login)
        failed = False
        try:
            known = await self._find(login)
            if known is not None and address in self._known_addresses(known):
                # They are served in turn with users, not with all the addresses that an attacker may have.
                CURRENT.client = known.id
            user = await self._auth.login(login, password)
        except (UnknownLogin, InvalidCredentials) as error:
            failed = True
            error.login = None if known is None else known.login
            shown = digest(login) if known is None else known.login
            self.log.info("a login failed: {login!r}", login=shown, address=output.address, connection=output.number)
            raise
        except UserLocked as error:
            error.login = login
            raise
        finally:
            attempt.end(failed)
        return user

    async def _admit(self, address: str, key: str, login: str) -> _Attempt:
        """Count a try before the password is checked: many tries at once get no further than the same number one by one."""
        pair = f"{address} {key}"
        is_exempt = self._of_login.wait(key) > 0 and await self._is_exempt(address, pair, key, login)
        # There may have been others while the storage was asked.
        wait = max(0 if is_exempt else self._of_login.wait(key), self._of_address.wait(address), self._of_pair.wait(pair))
        if wait:
            self._refused("logins_per_minute")
            error = TooManyRequests(wait, detail="too many failed logins with this login or from this address (limits.logins_per_minute)")
            error.login = self._names.get(key)
            raise error
        return _Attempt([(self._of_address, address), (self._of_pair, pair), (self._of_login, key)])

    async def _is_exempt(self, address: str, pair: str, key: str, login: str) -> bool:
        """Whether an address may try although the count of the login is full.

        A user without known addresses, as from an older release, has one try at each address, and another when nobody has tried this login
        there for a minute. Half of the unknown logins count as such users, so that the answer does not show which logins exist.
        """
        if self._of_address.wait(address) or self._of_pair.wait(pair):
            return False
        user = await self._find(login)
        # Only now: of many that asked the storage at once, one is the first.
        is_first = not self._of_pair.is_used(pair)
        known = () if user is None else self._known_addresses(user)
        is_exempt = address in known if known else is_first and (user is not None or self._passes_for_new(key))
        if not is_exempt:
            # This count soon refuses those who go on trying, without a question to the storage.
            self._of_pair.failed(pair)
        return is_exempt

    def _known_addresses(self, user: User) -> list[str]:
        return [known for known, time in user.known_addresses if self._now() - time < KNOWN_FOR]

    def _passes_for_new(self, key: str) -> bool:
        return blake2b(key.encode(errors="surrogatepass"), key=self._secret).digest()[0] % 2 == 0

    async def _find(self, login: str) -> User | None:
        """The user of a login in the storage; ``None`` for nobody."""
        if "\0" in login or not _is_unicode(login):
            return None
        by_key = await self._entities.find(User, EntityQuery(equal={"login_key": fold_login(login)}, take=1))
        exact = await self._entities.find(User, EntityQuery(equal={"login": login}, take=1))
        user = next(iter(exact or by_key), None)
        if user is not None:
            self._keep_name(user)
        return user

    def _keep_name(self, user: User) -> None:
        """Remember the login for the audit log: to refuse a try must not need a question to the storage."""
        key = fold_login(user.login)
        self._names[key] = user.login
        self._names.move_to_end(key)
        if len(self._names) > MAX_KEYS:
            self._names.popitem(last=False)

    def note(self, user: User | None, *addresses: str) -> None:
        """Store the time of a login, at most once a second, and its address, at most once a day. Nobody waits for this.

        Logins during the write do not cause another: a thousand devices of one user may come together.

        :param user: ``None`` for nobody, as for a user who was deleted meanwhile.
        :param addresses: for a login by password. A token says nothing about where its owner is.
        """
        if user is None:
            return
        if user.id in self._noting:
            self._noting[user.id].update(dict.fromkeys(addresses))
            return
        now = self._now()
        known = _with_addresses(user, addresses, now)
        is_new = known != user.known_addresses
        if (is_new and _is_room(user, now)) or user.last_login is None or now - user.last_login > LAST_LOGIN_INTERVAL:
            self._noting[user.id] = {}
            changes = {"last_login": now} | ({"known_addresses": known} if is_new else {})
            run(self._entities.update(User, user.id, changes), partial(self._noted, user.id))

    def _noted(self, user_id: int, user: User, error: Exception | None) -> None:
        addresses = self._noting.pop(user_id)
        if error is not None:
            self.log.warn("the time of a login was not kept: {error}", error=str(error))
        elif addresses:
            self.note(user, *addresses)


class _Attempt:
    """A try that has begun, under some keys.

    :param keys: each with the throttle that counts it.
    """

    def __init__(self, keys: list[tuple[FailureThrottle, str]]) -> None:
        self._begun = [(throttle, throttle.begin(key)) for throttle, key in keys]

    def end(self, failed: bool) -> None:
        """Count it as a failure, or not at all."""
        for throttle, begun in self._begun:
            throttle.end(begun, failed)


def _with_addresses(user: User, addresses: tuple[str, ...], now: int) -> tuple[tuple[str, int], ...]:
    """The known addresses of a user after a login; unchanged if nothing needs to be written."""
    times = dict(user.known_addresses)
    new = [place for address in addresses if (place := limit_key(address)) and not 0 <= now - times.get(place, -DAY) < DAY]
    if not new:
        return user.known_addresses
    latest = sorted((times | dict.fromkeys(new, now)).items(), key=itemgetter(1))
    return tuple(pair for pair in latest if now - pair[1] < KNOWN_FOR)[-MOST_KNOWN:]


def _is_room(user: User, now: int) -> bool:
    """Whether an address is written at once. Devices with ever more addresses cause no more writes than the time of the last login does."""
    return sum(now - time < DAY for _, time in user.known_addresses) < MOST_KNOWN


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

"""Logins by password: who may try, what is counted, and from where a user has come in.

Whoever guesses is stopped, and locks nobody out. Failures are counted for an address, for a login, and for the two together. When a login
is being guessed at from many addresses, its own count refuses every address but those from which the user has come in by password lately:
these are kept with the user, so that each node and each restart knows them.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from functools import partial
from hashlib import blake2b
from operator import itemgetter

from twisted.logger import Logger

from dhtwisted.core.addresses import limit_key
from dhtwisted.core.coroutines import run
from dhtwisted.core.rules import LONGEST_LOGIN
from dhtwisted.core.throttle import MAX_KEYS, FailureThrottle
from dhtwisted.errors import InvalidCredentials, TooManyRequests, UnknownLogin, UserLocked
from dhtwisted.kit.current_client import CURRENT
from dhtwisted.logs.masking import digest
from dhtwisted.model import EntityQuery, User, fold_login

LAST_LOGIN_INTERVAL = 1000
"""Milliseconds: a user's last login is written no more often."""

DAY = 86_400_000
KNOWN_FOR = 30 * DAY
"""Milliseconds for which an address is a user's own."""

MOST_KNOWN = 16
"""Addresses of a user that are kept; the one that is longest unused goes."""


class Logins:
    """Lets users in by password.

    :param reactor: gives the time.
    :param per_minute: failures that are permitted for an address, for a login, and for both together; 0 for any number.
    :param entities: the server's :class:`~dhtwisted.core.entity_cache.EntityCache`.
    :param auth: an ``IAuthProvider``.
    :param refused: called with the name of the limit when a try is refused.
    """

    log = Logger()

    def __init__(self, reactor, per_minute, entities, auth, refused):
        self._now = lambda: int(reactor.seconds() * 1000)
        # One for each sort of key: who floods one of them fills no other.
        self._of_address, self._of_login, self._of_pair = (FailureThrottle(reactor, per_minute) for _ in range(3))
        self._entities = entities
        self._auth = auth
        self._refused = refused
        self._noting: dict[int, dict[str, None]] = {}
        self._names: OrderedDict[str, str] = OrderedDict()
        self._secret = secrets.token_bytes(16)

    def set_limit(self, per_minute):
        """Permit another number of failures; what was counted is forgotten."""
        for throttle in (self._of_address, self._of_login, self._of_pair):
            throttle.set_limit(per_minute)

    async def log_in(self, login, password, output):
        """Check a password, unless too many were wrong lately.

        :param output: the way to the client, an ``IOutput``.
        :returns: the user, as the auth provider gives it.
        :raises TooManyRequests: the password was not looked at. Its ``login`` is the user's, where it was found lately.
        :raises UnknownLogin: no such login.
        :raises InvalidCredentials: wrong password.
        :raises UserLocked: right password, but the user is not active.
        """
        address, key = limit_key(output.address), fold_login(login[:LONGEST_LOGIN])
        attempt = await self._admit(address, key, login)
        failed = False
        try:
            known = await self._find(login)
            if known is not None and address in self._known_addresses(known):
                # They wait their turn among users, and not among all the addresses that those who guess may have.
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

    async def _admit(self, address, key, login):
        """Count a try before the password is looked at: of many at once no more are let through than of as many one by one."""
        pair = f"{address} {key}"
        is_exempt = self._of_login.wait(key) > 0 and await self._is_exempt(address, pair, key, login)
        # Others may have come while the storage was asked.
        wait = max(0 if is_exempt else self._of_login.wait(key), self._of_address.wait(address), self._of_pair.wait(pair))
        if wait:
            self._refused("logins_per_minute")
            error = TooManyRequests(wait, detail="too many failed logins with this login or from this address (limits.logins_per_minute)")
            error.login = self._names.get(key)
            raise error
        return _Attempt([(self._of_address, address), (self._of_pair, pair), (self._of_login, key)])

    async def _is_exempt(self, address, pair, key, login):
        """Whether the count of a login is not to hold an address up.

        A user of whom no address is known, as of an older release, has one try at each address: the next is when nobody has tried this
        login there for a minute. Unknown logins are as such users or as others, so that the answer does not tell which there are.
        """
        if self._of_address.wait(address) or self._of_pair.wait(pair):
            return False
        user = await self._find(login)
        # Now, and not before: of many that asked the storage at once one is the first.
        is_first = not self._of_pair.is_used(pair)
        known = () if user is None else self._known_addresses(user)
        is_exempt = address in known if known else is_first and (user is not None or self._passes_for_new(key))
        if not is_exempt:
            # Who goes on trying is refused by this count soon, without a question to the storage.
            self._of_pair.failed(pair)
        return is_exempt

    def _known_addresses(self, user):
        return [known for known, time in user.known_addresses if self._now() - time < KNOWN_FOR]

    def _passes_for_new(self, key):
        return blake2b(key.encode(errors="surrogatepass"), key=self._secret).digest()[0] % 2 == 0

    async def _find(self, login):
        """The user of a login as the storage has it; ``None`` for nobody."""
        if "\0" in login or not _is_unicode(login):
            return None
        by_key = await self._entities.find(User, EntityQuery(equal={"login_key": fold_login(login)}, take=1))
        exact = await self._entities.find(User, EntityQuery(equal={"login": login}, take=1))
        user = next(iter(exact or by_key), None)
        if user is not None:
            self._keep_name(user)
        return user

    def _keep_name(self, user):
        """Have the audit log name a user whose tries are refused, without a question to the storage then."""
        key = fold_login(user.login)
        self._names[key] = user.login
        self._names.move_to_end(key)
        if len(self._names) > MAX_KEYS:
            self._names.popitem(last=False)

    def note(self, user, *addresses):
        """Keep that a user has come in, at most once a second, and from where, at most once a day for each address. Nobody waits for it.

        Of those who come while it is being written none writes it again: a thousand devices may be one user's, and come together.

        :param addresses: of those who came in by password; a token says nothing of where its owner is.
        """
        if user.id in self._noting:
            self._noting[user.id].update(dict.fromkeys(addresses))
            return
        now = self._now()
        known = _known_addresses(user, addresses, now)
        is_new = known != user.known_addresses
        if (is_new and _is_room(user, now)) or user.last_login is None or now - user.last_login > LAST_LOGIN_INTERVAL:
            self._noting[user.id] = {}
            changes = {"last_login": now} | ({"known_addresses": known} if is_new else {})
            run(self._entities.update(User, user.id, changes), partial(self._noted, user.id))

    def _noted(self, user_id, user, error):
        addresses = self._noting.pop(user_id)
        if error is not None:
            self.log.warn("the time of a login was not kept: {error}", error=str(error))
        elif addresses:
            self.note(user, *addresses)


class _Attempt:
    """A try that has begun, under some keys.

    :param keys: pairs of a :class:`~dhtwisted.core.throttle.FailureThrottle` and a key of it.
    """

    def __init__(self, keys):
        self._begun = [(throttle, throttle.begin(key)) for throttle, key in keys]

    def end(self, failed):
        """Count it as a failure, or take it back."""
        for throttle, begun in self._begun:
            throttle.end(begun, failed)


def _known_addresses(user, addresses, now):
    """The addresses of a user who has come in from some; as they are where nothing is to be written."""
    times = dict(user.known_addresses)
    new = [place for address in addresses if (place := limit_key(address)) and not 0 <= now - times.get(place, -DAY) < DAY]
    if not new:
        return user.known_addresses
    latest = sorted((times | dict.fromkeys(new, now)).items(), key=itemgetter(1))
    return tuple(pair for pair in latest if now - pair[1] < KNOWN_FOR)[-MOST_KNOWN:]


def _is_room(user, now):
    """Whether an address is written at once. Devices that come from ever more addresses write no more often than the last login is."""
    return sum(now - time < DAY for _, time in user.known_addresses) < MOST_KNOWN


def _is_unicode(text):
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True

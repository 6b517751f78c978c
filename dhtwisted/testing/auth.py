"""The contract of an auth provider, for ours and for strangers'.

Write a class ``TestMine(AuthContract)`` with the method ``make_auth``, and run it with pytest and pytest-twisted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import pytest_twisted
from zope.interface.verify import verifyObject

from dhtwisted.errors import (
    ApiError,
    AuthUnavailable,
    InvalidCredentials,
    ServiceUnavailable,
    StorageError,
    StorageUnavailable,
    Unauthorized,
    UnknownLogin,
    UserLocked,
)
from dhtwisted.interfaces import IAuthProvider
from dhtwisted.model import ACTIVE, DISABLED, LOCKED_OUT, Claims, User
from dhtwisted.providers.memory import MemoryStorage
from dhtwisted.testing.contract import Watched, begin, must_raise

LOGIN, PASSWORD = "anna", "correct horse"
ERRORS: dict[str, tuple[type[Exception], ...]] = dict.fromkeys(
    ("login", "hash_password", "close"), (ApiError, AuthUnavailable, StorageError)
)
"""Async method -> what it may raise."""

RULE = (
    "an auth provider must raise Unauthorized or a subclass, or AuthUnavailable when its backend (such as an LDAP directory) does not "
    "answer"
)

ODD_TEXTS = ("", " ", "\0", "\ud800", "é", "ANNA", "anna ", "a" * 100_000, "' OR 1=1 --", "%", "a.b.c")


def sample_claims(**changes: Any) -> Claims:
    """Make the claims of an ordinary access token, with some changes."""
    values: dict[str, Any] = {
        "user_id": 7,
        "actions": frozenset({2, 3, 18}),
        "network_ids": frozenset({"3", "12"}),
        "device_type_ids": frozenset({"*"}),
        "expires": 1_767_323_045_678,
    }
    return Claims(**(values | changes))


class AuthContract:
    """The contract of every auth provider.

    The methods of a subclass can use what its fixtures set on ``self``.

    :cvar call_seconds: how long each call of the provider may take.
    """

    call_seconds = 10.0

    async def make_auth(self, storage: Any, reactor: Any) -> Any:
        """Build the provider.

        :param storage: an opened storage without users.
        :param reactor: the running reactor.
        :returns: an :class:`~dhtwisted.interfaces.IAuthProvider`; the suite closes it.
        """
        raise NotImplementedError("a subclass of AuthContract must build its provider in make_auth")

    async def add_user(self, storage: Any, auth: Any, login: str, password: str, status: int) -> User:
        """Make a user known. Override it where passwords are kept elsewhere than in the storage.

        :returns: the :class:`~dhtwisted.model.User` as the storage has them.
        """
        return await storage.insert(User(login=login, password=await auth.hash_password(password), status=status))

    async def lose_directory(self, auth: Any) -> Any:
        """Make what the provider asks at a login unreachable. Override it where it asks anything: a directory, a file, the storage.

        :param auth: what :meth:`make_auth` made.
        """
        raise NotImplementedError("a subclass whose provider uses a directory must override lose_directory")

    @pytest.fixture
    def contract_storage(self) -> MemoryStorage:
        """An opened storage without users."""
        from twisted.internet import reactor

        storage = MemoryStorage(reactor)
        pytest_twisted.blockon(begin(storage.open()))
        return storage

    @pytest.fixture
    def auth(self, contract_storage: MemoryStorage) -> Iterator[Watched]:
        """The provider under test."""
        from twisted.internet import reactor

        made = pytest_twisted.blockon(begin(self.make_auth(contract_storage, reactor)))
        auth = Watched(made, ERRORS, RULE, self.call_seconds)
        yield auth
        pytest_twisted.blockon(begin(auth.close()))

    def test_provides_the_interface(self, auth: Watched) -> None:
        assert verifyObject(IAuthProvider, auth.provider), "a provider must have every method of IAuthProvider, with its arguments"

    @pytest.mark.parametrize(
        "claims",
        [
            sample_claims(),
            sample_claims(refresh=True),
            sample_claims(actions=None, network_ids=None, device_type_ids=None),
            sample_claims(actions=frozenset({0}), network_ids=frozenset({"*"})),
            sample_claims(network_ids=frozenset(), device_type_ids=frozenset()),
            sample_claims(user_id=2**53 + 1, expires=2**53 + 1),
            sample_claims(valid_from=2**53 + 1, refresh=True),
            sample_claims(device_id="pump-4", token_id=7),
        ],
    )
    def test_a_token_says_what_was_issued(self, auth: Watched, claims: Claims) -> None:
        assert auth.verify(auth.issue(claims)) == claims, (
            "verify must return equal claims: absent members must differ from empty ones, and numbers must be exact"
        )

    def test_a_token_carries_the_number_by_which_it_is_revoked(self, auth: Watched) -> None:
        claims = auth.verify(auth.issue(sample_claims(valid_from=1_767_323_045_678)))
        assert claims.valid_from, (
            "Claims.valid_from was lost: after a user's first change of password all new tokens of the user would be invalid"
        )
        assert auth.verify(auth.issue(sample_claims())).valid_from == 0, "a valid_from of 0 must come back as 0"

    def test_a_token_carries_the_only_device_that_it_is_good_for(self, auth: Watched) -> None:
        claims = auth.verify(auth.issue(sample_claims(device_id="pump-4", token_id=2**53 + 1)))
        assert (claims.device_id, claims.token_id) == ("pump-4", 2**53 + 1), (
            "Claims.device_id or token_id was dropped: it would open everything"
        )

    def test_a_token_is_text_that_fits_into_a_header(self, auth: Watched) -> None:
        token = auth.issue(sample_claims())
        assert isinstance(token, str) and token.isascii() and token.isprintable() and " " not in token, (
            "a token must be printable ASCII text without spaces: it is sent as a Bearer token"
        )

    def test_an_expired_token_is_still_read(self, auth: Watched) -> None:
        claims = sample_claims(expires=1)
        assert auth.verify(auth.issue(claims)) == claims, "verify must accept an expired token: the server checks the expiry"

    def test_a_changed_token_is_refused(self, auth: Watched) -> None:
        token = auth.issue(sample_claims())
        for place in range(0, len(token) - 1, 7):
            changed = token[:place] + ("A" if token[place] != "A" else "B") + token[place + 1 :]
            with must_raise(InvalidCredentials, "verify of a changed token"):
                auth.verify(changed)

    @pytest.mark.parametrize("text", ODD_TEXTS, ids=lambda text: ascii(text[:12]))
    def test_any_other_text_is_refused(self, auth: Watched, text: str) -> None:
        with must_raise(InvalidCredentials, f"verify of {text[:12]!a}"):
            auth.verify(text)

    @pytest_twisted.ensureDeferred
    async def test_the_right_password_gives_the_user(self, auth: Watched, contract_storage: MemoryStorage) -> None:
        user = await self.add_user(contract_storage, auth, LOGIN, PASSWORD, ACTIVE)
        found = await auth.login(LOGIN, PASSWORD)
        assert found == await contract_storage.get(User, user.id), "login must return the user as the storage has them"

    @pytest_twisted.ensureDeferred
    async def test_a_wrong_password_is_refused(self, auth: Watched, contract_storage: MemoryStorage) -> None:
        await self.add_user(contract_storage, auth, LOGIN, PASSWORD, ACTIVE)
        with must_raise(InvalidCredentials, "login with a wrong password"):
            await auth.login(LOGIN, PASSWORD + " ")

    @pytest_twisted.ensureDeferred
    async def test_an_unknown_login_is_refused(self, auth: Watched, contract_storage: MemoryStorage) -> None:
        await self.add_user(contract_storage, auth, LOGIN, PASSWORD, ACTIVE)
        with must_raise(UnknownLogin, "login with an unknown login"):
            await auth.login("berta", PASSWORD)

    @pytest.mark.parametrize("status", [LOCKED_OUT, DISABLED])
    @pytest_twisted.ensureDeferred
    async def test_that_a_user_is_locked_is_told_only_with_the_right_password(
        self, auth: Watched, contract_storage: MemoryStorage, status: int
    ) -> None:
        await self.add_user(contract_storage, auth, LOGIN, PASSWORD, status)
        with must_raise(UserLocked, "login of a user who is not active"):
            await auth.login(LOGIN, PASSWORD)
        with must_raise(InvalidCredentials, "login of a user who is not active, with a wrong password,"):
            await auth.login(LOGIN, "wrong")

    @pytest.mark.parametrize("text", ODD_TEXTS, ids=lambda text: ascii(text[:12]))
    @pytest_twisted.ensureDeferred
    async def test_odd_texts_are_neither_login_nor_password(self, auth: Watched, contract_storage: MemoryStorage, text: str) -> None:
        await self.add_user(contract_storage, auth, LOGIN, PASSWORD, ACTIVE)
        for login, password in ((text, PASSWORD), (LOGIN, text), (text, text)):
            with must_raise(Unauthorized, f"login with {login[:12]!a} and {password[:12]!a}"):
                await auth.login(login, password)

    @pytest_twisted.ensureDeferred
    async def test_what_is_kept_of_a_password_does_not_show_it(self, auth: Watched) -> None:
        first, second = await auth.hash_password(PASSWORD), await auth.hash_password(PASSWORD)
        assert isinstance(first, str) and PASSWORD not in first, "hash_password must return text that does not contain the password"
        assert first != second, "hash_password must return different texts for equal passwords"

    @pytest_twisted.ensureDeferred
    async def test_a_directory_that_is_away_says_nothing_of_the_password(self, auth: Watched, contract_storage: MemoryStorage) -> None:
        if type(self).lose_directory is AuthContract.lose_directory:
            pytest.skip("lose_directory is not overridden: nothing shows what happens when the directory is away")
        await self.add_user(contract_storage, auth, LOGIN, PASSWORD, ACTIVE)
        await self.lose_directory(auth.provider)
        for login, password in ((LOGIN, PASSWORD), (LOGIN, "wrong"), ("berta", PASSWORD)):
            with must_raise((AuthUnavailable, StorageUnavailable, ServiceUnavailable), "login while the directory is away"):
                await auth.login(login, password)
        assert auth.verify(auth.issue(sample_claims())) == sample_claims(), "verify must accept tokens while the directory does not answer"

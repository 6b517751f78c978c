"""Auth providers that break the contract, each in one point, and the correct one that they derive from."""

from typing import Any, cast

import pytest
from twisted.internet.defer import Deferred

from dhtwisted.errors import InvalidCredentials, UnknownLogin
from dhtwisted.model import Claims, User
from dhtwisted.providers.jwt.auth import JWTAuth
from dhtwisted.testing.auth import AuthContract
from dhtwisted.testing.server import settings


class Directory:
    """A directory of users that a provider asks. Its server may be down."""

    is_away = False

    def check(self) -> None:
        if self.is_away:
            raise ConnectionError("ldap.example does not answer")


class DirectoryAuth(JWTAuth):
    """Asks a directory at each login."""

    directory: Directory

    async def login(self, login: str, password: str) -> User:
        self.directory.check()
        return await super().login(login, password)


class SoundAuth(AuthContract):
    """Asks no directory."""

    kind: type[JWTAuth] = JWTAuth

    async def make_auth(self, storage: Any, reactor: Any) -> JWTAuth:
        return self.kind(reactor, settings(), storage, b"k" * 32)


class RawAuth(SoundAuth):
    """Raises the error of its driver when the directory is down."""

    kind = DirectoryAuth

    directory: Directory

    @pytest.fixture(autouse=True)
    def make_directory(self) -> None:
        self.directory = Directory()

    async def make_auth(self, storage: Any, reactor: Any) -> DirectoryAuth:
        auth = cast(DirectoryAuth, await super().make_auth(storage, reactor))
        auth.directory = self.directory
        return auth

    async def lose_directory(self, auth: Any) -> None:
        self.directory.is_away = True


class WrongPasswordAuth(RawAuth):
    """Reports a wrong password when the directory is down."""

    class kind(DirectoryAuth):
        async def login(self, login: str, password: str) -> User:
            try:
                return await super().login(login, password)
            except ConnectionError as error:
                raise InvalidCredentials() from error


class NeverLogsIn(SoundAuth):
    call_seconds = 0.2

    class kind(JWTAuth):
        def login(self, login: str, password: str) -> Deferred[User]:  # type: ignore[override]  # the mistake
            return Deferred()


class RawLogin(SoundAuth):
    class kind(JWTAuth):
        async def login(self, login: str, password: str) -> User:
            try:
                return await super().login(login, password)
            except UnknownLogin as error:
                raise KeyError(login) from error


class LaxTokens(SoundAuth):
    class kind(JWTAuth):
        def verify(self, token: str) -> Claims | None:  # type: ignore[override]  # the mistake
            try:
                return super().verify(token)
            except InvalidCredentials:
                return None

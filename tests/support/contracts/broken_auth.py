"""Auth providers that break the contract, each in one point, and the sound one that they derive from."""

import pytest
from twisted.internet.defer import Deferred

from dhtwisted.errors import InvalidCredentials, UnknownLogin
from dhtwisted.providers.jwt.auth import JWTAuth
from dhtwisted.testing.auth import AuthContract
from dhtwisted.testing.server import settings


class Directory:
    """What a provider asks; it may be away."""

    is_away = False

    def check(self):
        if self.is_away:
            raise ConnectionError("ldap.example does not answer")


class DirectoryAuth(JWTAuth):
    """Asks a directory at each login."""

    directory: Directory

    async def login(self, login, password):
        self.directory.check()
        return await super().login(login, password)


class SoundAuth(AuthContract):
    """Asks nothing."""

    kind = JWTAuth

    async def make_auth(self, storage, reactor):
        return self.kind(reactor, settings(), storage, b"k" * 32)


class RawAuth(SoundAuth):
    """Raises what its driver raises when the directory is away."""

    kind = DirectoryAuth

    @pytest.fixture(autouse=True)
    def directory(self):
        self.directory = Directory()

    async def make_auth(self, storage, reactor):
        auth = await super().make_auth(storage, reactor)
        auth.directory = self.directory
        return auth

    async def lose_directory(self, auth):
        self.directory.is_away = True


class WrongPasswordAuth(RawAuth):
    """Takes a directory that is away for a wrong password."""

    class kind(DirectoryAuth):
        async def login(self, login, password):
            try:
                return await super().login(login, password)
            except ConnectionError as error:
                raise InvalidCredentials() from error


class NeverLogsIn(SoundAuth):
    call_seconds = 0.2

    class kind(JWTAuth):
        def login(self, login, password):
            return Deferred()


class RawLogin(SoundAuth):
    class kind(JWTAuth):
        async def login(self, login, password):
            try:
                return await super().login(login, password)
            except UnknownLogin as error:
                raise KeyError(login) from error


class LaxTokens(SoundAuth):
    class kind(JWTAuth):
        def verify(self, token):
            try:
                return super().verify(token)
            except InvalidCredentials:
                return None

"""Logins from a text file, one line ``login:record`` for each; rights stay in the server's storage."""

from pathlib import Path

from zope.interface import implementer

from dhtwisted.errors import AuthUnavailable, ConfigurationError, InvalidCredentials, UnknownLogin, UserLocked
from dhtwisted.interfaces import IAuthProvider
from dhtwisted.model import ACTIVE, EntityQuery, User
from dhtwisted.providers.jwt.auth import JWTAuth
from dhtwisted.providers.jwt.passwords import PasswordHasher
from dhtwisted.providers.jwt.signing_key import find_key


def open_text_file(argument, context):
    """Build the provider; see ``IProvider.open``."""
    path = Path(argument)
    if not path.is_file():
        raise ConfigurationError(f"auth.provider: {path} is no file; make it, with a line login:record for each user")
    settings, storage = context.settings, context.storage
    tokens = JWTAuth(context.reactor, settings, storage, find_key(settings, storage))
    return TextFileAuth(path, storage, tokens, PasswordHasher(context.reactor, settings.auth.password_cost))


@implementer(IAuthProvider)
class TextFileAuth:
    """See ``IAuthProvider``. Tokens are those of the server's own provider.

    :param path: the text file; read at every login, so that a change takes effect at once.
    """

    def __init__(self, path, storage, tokens, hasher):
        self._path = path
        self._storage = storage
        self._tokens = tokens
        self._hasher = hasher
        self.secret = tokens.secret

    def verify(self, token):
        """Read a token."""
        return self._tokens.verify(token)

    def issue(self, claims):
        """Make a token."""
        return self._tokens.issue(claims)

    async def login(self, login, password):
        """Check a password against the file, then find the user of that login."""
        record = self._read().get(login)
        right = await self._hasher.verify(password, record)
        user = await self._find_user(login) if record else None
        if user is None:
            raise UnknownLogin(login)
        if not right:
            raise InvalidCredentials()
        if user.status != ACTIVE:
            raise UserLocked()
        return user

    async def hash_password(self, password):
        """Make a record, for the storage or for a line of the file."""
        return await self._hasher.hash(password)

    async def close(self):
        """End the threads."""
        await self._hasher.close()
        await self._tokens.close()

    def _read(self):
        try:
            lines = self._path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeError) as error:
            raise AuthUnavailable(f"the file of logins {self._path} cannot be read: {error}") from error
        return dict(line.split(":", 1) for line in lines if ":" in line)

    async def _find_user(self, login):
        users = await self._storage.find(User, EntityQuery(equal={"login": login}, take=1))
        return users[0] if users else None

"""What a provider raises; the server turns it into an answer."""


class StorageError(Exception):
    """What a storage provider raises; the server turns it into an answer."""


class Duplicate(StorageError):
    """Another entity of the kind has this key, or this value of a unique field.

    :ivar field: the name of the field, as in :mod:`dhtwisted.model`.
    """

    def __init__(self, kind, field, value):
        self.field = field
        super().__init__(f"there is a {kind.__name__} with {field} = {value!r} already")


class Missing(StorageError):
    """The entity to be changed does not exist."""

    def __init__(self, kind, key):
        super().__init__(f"there is no {kind.__name__} {key!r}")


class Unstorable(StorageError):
    """A value that this storage cannot hold, such as text that is no Unicode, or an integer beyond 64 bits. Nothing was changed."""


class StorageUnavailable(StorageError):
    """The storage cannot do it now: disk full, database away, closed. Nothing is half done; clients get 503.

    Where the answer of a commit was lost, and it cannot be found out, the whole may have been done.
    """


class StorageDamaged(StorageUnavailable):
    """What is stored cannot be read, or nothing be written: the file is damaged, or the disk fails.

    :ivar lasts: whether it stays so until somebody mends it.
    """

    def __init__(self, text, lasts):
        self.lasts = lasts
        super().__init__(text)


class RowDamaged(StorageDamaged):
    """A row of a file is not as it was stored.

    :param kind: of what it is, such as ``notification``.
    :param key: its id, as far as that is to be believed.
    """

    def __init__(self, kind, key):
        super().__init__(f"{kind} {key} is damaged (it was changed on the disk)", lasts=True)


class Overloaded(StorageUnavailable):
    """The storage is there, and has more to do than it should have waiting."""


class DeadlinePassed(StorageUnavailable):
    """A request was not answered in time. Whatever it waits for, its client is told the same as of a storage that is away."""

    def __init__(self, seconds):
        super().__init__(f"no answer within {seconds} seconds")


class WriterLost(StorageUnavailable):
    """The process that writes a file could not be started, or ended before it answered: what it was asked for is done, or none of it."""


class AuthUnavailable(Exception):
    """The auth provider cannot ask what it asks (a directory such as LDAP) now. The text is for the log; clients get 503."""

"""Errors that a provider raises. The server converts them into answers."""


class StorageError(Exception):
    """The base of all errors that a storage raises."""


class Duplicate(StorageError):
    """Another entity of the kind has this key, or this value of a unique field.

    :ivar field: the name of the field, as in :mod:`dhtwisted.model`.
    """

    def __init__(self, kind: type, field: str, value: object) -> None:
        self.field = field
        super().__init__(f"there is a {kind.__name__} with {field} = {value!r} already")


class Missing(StorageError):
    """There is no entity with the given key."""

    def __init__(self, kind: type, key: object) -> None:
        super().__init__(f"there is no {kind.__name__} {key!r}")


class Unstorable(StorageError):
    """This storage cannot keep a value, such as text that is not Unicode, or an integer beyond 64 bits. Nothing was changed."""


class StorageUnavailable(StorageError):
    """The call is impossible now: the disk is full, the database does not answer, the storage is closed. Nothing is half done. Clients get
    503.

    If the answer to a commit was lost, and the storage cannot find out the outcome, the call may have been done completely.
    """


class StorageDamaged(StorageUnavailable):
    """Stored data cannot be read, or nothing can be written: the file is damaged, or the disk fails.

    :ivar lasts: whether only the operator can end this state.
    """

    def __init__(self, text: str, lasts: bool) -> None:
        self.lasts = lasts
        super().__init__(text)


class RowDamaged(StorageDamaged):
    """A row of a file was changed on the disk.

    :param kind: the kind of object, such as ``notification``.
    :param key: its id, which may be damaged too.
    """

    def __init__(self, kind: str, key: object) -> None:
        super().__init__(f"{kind} {key} is damaged (it was changed on the disk)", lasts=True)


class NodesUnavailable(StorageUnavailable):
    """Another node has not said whether it has a session, so it may have it."""

    def __init__(self) -> None:
        super().__init__("another node does not answer, or the bus is interrupted; connect again later")


class Overloaded(StorageUnavailable):
    """The storage works, but too many calls wait for it."""


class DeadlinePassed(StorageUnavailable):
    """A request was not answered in time. The client gets the same error as for a storage that does not answer."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"no answer within {seconds} seconds")


class WriterLost(StorageUnavailable):
    """The process that writes a file could not be started, or ended before it answered: the call was done completely, or not at all."""


class AuthUnavailable(Exception):
    """The backend of the auth provider, such as an LDAP directory, does not answer now. The text is for the log; clients get 503."""

"""The base of all errors of a client, and those that belong to no other module: the server's own, concurrent changes, limits."""

from math import ceil

UNREADABLE = (ValueError, RecursionError)
"""What msgspec raises for JSON that it cannot read: its own ValueErrors and, for bad UTF-8 before msgspec 0.23, a UnicodeDecodeError."""


class ApiError(Exception):
    """An answer that reports an error.

    :ivar code: the number sent as ``code``; the same as an HTTP status.
    :ivar text: the sentence sent as ``error``. It never contains the text of an exception, a password or a token.
    :ivar rest_code: the number that REST sends, if it differs.
    :ivar rest_text: the sentence that REST sends, if it differs.
    :ivar retry_after: whole seconds after which the same request may succeed, sent as ``retryAfter``; ``None`` if that is not known.
    :ivar detail: a short sentence for the author of the client, sent as ``detail``: which member is wrong, named by its path
        (``device.networkId``, ``names[2]``), what was expected, and what to do. It never contains a value that the client sent or the text
        of an exception, and never shows whether an object exists that the client may not see. ``None`` if the text says everything.
    """

    code = 500
    text = "Internal server error"
    rest_code: int | None = None
    rest_text: str | None = None
    retry_after: int | None = None
    detail: str | None = None

    def __init__(self, text: str | None = None, *, detail: str | None = None) -> None:
        if text is not None:
            self.text = text
        if detail is not None:
            self.detail = detail
        super().__init__(self.text)

    @property
    def logged(self) -> str:
        """The sentence for the logs."""
        return self.text


class InternalError(ApiError):
    """A defect of the server. The cause is in the log, not in the answer."""


class ObjectChanged(ApiError):
    """Another client created or changed the object at the same moment."""

    code = 409
    text = "The object was changed at the same time. Please repeat the request."


class CurrentUserGone(ApiError):
    """The user of this client was deleted meanwhile."""

    code = 409
    text = "Can not get current user."


class TooManyRequests(ApiError):
    """A configured limit is reached.

    :param retry_after: seconds after which a retry makes sense; some seconds if that depends on other clients.
    :param detail: which limit it is.
    :ivar login: of the user concerned, for the audit log; ``None`` if there is none, or it is not known.
    """

    code = 429
    text = "Too many requests"
    retry_after = 10
    login: str | None = None

    def __init__(self, retry_after: float | None = None, *, detail: str | None = None) -> None:
        super().__init__(detail=detail)
        if retry_after is not None:
            self.retry_after = max(1, ceil(retry_after))


class QuotaExceededForNow(TooManyRequests):
    """A quota is used up, but becomes free again by itself: that of a day, or of waiting requests.

    :param name: of the quota, as in ``[quotas]``.
    :param amount: how much is allowed, with its unit.
    :param seconds: until the quota is free again.
    """

    def __init__(self, name: str, amount: str, seconds: float) -> None:
        super().__init__(seconds, detail=f"the limit is {amount} (quotas.{name})")
        self.text = f"Quota exceeded: {name}"
        self.args = (self.text,)


class ServiceUnavailable(ApiError):
    """The storage or the auth provider cannot answer now."""

    code = 503
    text = "Service is not available"


class ServiceOverloaded(ServiceUnavailable):
    """Too many calls wait for the storage. It needs a moment."""

    retry_after = 1

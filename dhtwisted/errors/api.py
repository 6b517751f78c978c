"""What every error of a client has, and the errors of no other family: of the server itself, of changes meanwhile, of limits."""

from math import ceil

UNREADABLE = (ValueError, RecursionError)
"""What msgspec raises for JSON that it cannot read: errors of its own, which are ValueErrors, and for bad UTF-8 before 0.23 Unicode's."""


class ApiError(Exception):
    """An answer other than success.

    :ivar code: the number sent as ``code``; the same as an HTTP status.
    :ivar text: the sentence sent as ``error``; it never holds an exception's text, a password or a token.
    :ivar rest_code: the number that REST sends, where it is another one.
    :ivar rest_text: the sentence that REST sends, where it is another one.
    :ivar retry_after: whole seconds after which the same request may succeed, sent as ``retryAfter``; ``None`` where nobody can say.
    :ivar detail: a short sentence for whoever writes the client, sent as ``detail``: which member is wrong, named by its path
        (``device.networkId``, ``names[2]``), what was expected, and what to do. It never holds a value that the client sent, nor an
        exception's text, nor tells whether an object exists that its reader may not see. ``None`` where the text says it all.
    """

    code = 500
    text = "Internal server error"
    rest_code: int | None = None
    rest_text: str | None = None
    retry_after: int | None = None
    detail: str | None = None

    def __init__(self, text=None, *, detail=None):
        if text is not None:
            self.text = text
        if detail is not None:
            self.detail = detail
        super().__init__(self.text)

    @property
    def logged(self):
        """The sentence as logs may have it."""
        return self.text


class InternalError(ApiError):
    """A defect of ours; the cause is in the log, not in the answer."""


class ObjectChanged(ApiError):
    """Somebody else created or changed the object at the same moment."""

    code = 409
    text = "The object was changed at the same time. Please repeat the request."


class CurrentUserGone(ApiError):
    """The caller himself was deleted meanwhile."""

    code = 409
    text = "Can not get current user."


class TooManyRequests(ApiError):
    """A configured limit is reached.

    :param retry_after: seconds until there is room again; a few where that depends on other clients.
    :param detail: which limit it is.
    :ivar login: of the user who was meant, for the audit log; ``None`` where that is not known, or nobody is meant.
    """

    code = 429
    text = "Too many requests"
    retry_after = 10
    login: str | None = None

    def __init__(self, retry_after=None, *, detail=None):
        super().__init__(detail=detail)
        if retry_after is not None:
            self.retry_after = max(1, ceil(retry_after))


class QuotaExceededForNow(TooManyRequests):
    """A quota is used up that has room again by itself: of a day, or of requests that wait.

    :param amount: how much there may be, with its unit.
    :param seconds: until then.
    """

    def __init__(self, name, amount, seconds):
        super().__init__(seconds, detail=f"the limit is {amount} (quotas.{name})")
        self.text = f"Quota exceeded: {name}"
        self.args = (self.text,)


class ServiceUnavailable(ApiError):
    """The storage or the auth provider cannot answer now."""

    code = 503
    text = "Service is not available"


class ServiceOverloaded(ServiceUnavailable):
    """The storage has more to do than it should have waiting, which takes it a moment."""

    retry_after = 1

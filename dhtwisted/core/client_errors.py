"""What a client gets for an error, and what goes to the log instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.logger import Logger
from twisted.python.failure import Failure

from dhtwisted.errors import (
    ApiError,
    AuthUnavailable,
    BadRequest,
    Duplicate,
    InternalError,
    Missing,
    ObjectChanged,
    Overloaded,
    ServiceOverloaded,
    ServiceUnavailable,
    StorageUnavailable,
    Unstorable,
)

if TYPE_CHECKING:
    from dhtwisted.interfaces import IConnection

NULL = b"null"
LONGEST_REQUEST_ID = 64
"""Bytes of a request's id in a log line; clients may send any JSON."""

REFUSAL_INTERVAL = 1000
"""Milliseconds."""


class ClientErrors:
    """Turns errors into what clients get.

    :param now: gives milliseconds.
    """

    log = Logger("dhtwisted.core.server.Server")  # The name by which operators know these lines.

    def __init__(self, now: Callable[[], int]) -> None:
        self._now = now
        self._refusals = 0
        self._logged_at = 0

    def convert(self, error: BaseException, what: str, connection: IConnection, request: Any = None) -> ApiError:
        """The error that a client gets. What the client must not see goes to the log.

        :param what: what was being done, for the log; nothing that a client made up.
        :param request: the :class:`~dhtwisted.core.server.Request`; ``None`` if it was not read.
        """
        if isinstance(error, ApiError):
            return error
        if isinstance(error, (StorageUnavailable, AuthUnavailable)):
            self.log_refusal(what, error)
            return ServiceOverloaded() if isinstance(error, Overloaded) else ServiceUnavailable()
        if isinstance(error, (Duplicate, Missing)):
            return ObjectChanged()
        if isinstance(error, Unstorable):
            return BadRequest(
                detail="a value cannot be stored: a text has a NUL character or is not valid Unicode, or a number is too large"
            )
        self.log.failure("{what} failed", failure=Failure(error), what=what, **_identity(connection, request))
        return InternalError()

    def log_refusal(self, what: str, error: BaseException) -> None:
        """Log that a provider could not do something: at most once a second, since thousands of requests may be refused in one."""
        self._refusals += 1
        if abs(self._now() - self._logged_at) >= REFUSAL_INTERVAL:
            self.log.warn(
                "{what} refused, {whose} unavailable: {error} ({count} since the last such line)",
                what=what,
                whose="storage" if isinstance(error, StorageUnavailable) else "auth provider",
                error=str(error),
                count=self._refusals,
            )
            self._refusals, self._logged_at = 0, self._now()


def _identity(connection: IConnection, request: Any) -> dict[str, Any]:
    """Fields of a log line that say whose request it was."""
    fields: dict[str, Any] = {"connection": connection.number, "address": connection.address}
    if request is None:
        return fields
    if request.principal is not None:
        fields["user"] = request.principal.user_id
    request_id = bytes(request.fields.request_id)
    if request_id != NULL:
        fields["request"] = request_id[:LONGEST_REQUEST_ID].decode(errors="replace")
    return fields | {"action": request.action.name}

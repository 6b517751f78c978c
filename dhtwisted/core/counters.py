"""Counters for the operator. Counting is one addition; everything else happens at a scrape."""

from __future__ import annotations

from collections import Counter

from dhtwisted.core.quotas import QUOTAS
from dhtwisted.errors import ApiError, TooDeep

LIMITS = (
    "authenticate_timeout",
    "body_timeout",
    "connections",
    "connections_per_address",
    "handshake_timeout",
    "json_depth",
    "logins_per_minute",
    "message_size",
    "output_queue",
    "output_total",
    "ping_interval",
    "polls",
    "requests_per_second",
    "subscribed_names",
    "subscriptions_per_connection",
)
"""The options of ``[limits]`` whose refusals are counted. The others cut an answer shorter, which is no refusal."""

ENDS = {
    "flood": None,
    "not_reading": None,
    "output_total": "output_total",
    "queue_full": "output_queue",
    "silent": "ping_interval",
    "unauthenticated": "authenticate_timeout",
}
"""Why the server ends a connection, and the limit that it has exceeded, if any."""


class Metrics:
    """Counters of one server.

    :ivar refusals: name of an option of ``[limits]`` -> how often it has refused something.
    :ivar quota_refusals: name of a quota -> how often it has refused something.
    :ivar ends: one of :data:`ENDS` -> how many connections were ended for that.
    :ivar requests: name of an action -> how many requests of it were begun.
    :ivar errors: ``(name of the action, code)`` -> how many of them ended in that error.
    :ivar unread: code -> how many requests were refused before an action was begun.
    """

    def __init__(self) -> None:
        self.refusals = Counter(dict.fromkeys(LIMITS, 0))
        self.quota_refusals = Counter(dict.fromkeys(QUOTAS, 0))
        self.ends = Counter(dict.fromkeys(ENDS, 0))
        # Counted for every message: any other kind of dictionary would take 50 ns more.
        self.requests: dict[str, int] = {}
        self.errors: Counter[tuple[str, int]] = Counter()
        self.unread: Counter[int] = Counter()

    def refused(self, limit: str) -> None:
        """Count a refusal.

        :param limit: the option of ``[limits]``, such as ``connections``.
        """
        self.refusals[limit] += 1

    def quota_exceeded(self, name: str) -> None:
        """Count a refusal by a quota."""
        self.quota_refusals[name] += 1

    def refused_request(self, error: ApiError) -> None:
        """Count a request that was refused before an action was begun.

        :param error: the error that its client gets.
        """
        self.unread[error.code] += 1
        if isinstance(error, TooDeep):
            self.refused("json_depth")

    def ended(self, reason: str) -> None:
        """Count a connection that the server ends.

        :param reason: one of :data:`ENDS`.
        """
        self.ends[reason] += 1
        limit = ENDS[reason]
        if limit is not None:
            self.refused(limit)

"""What a handler may ask of the client whose request it serves, and where WebSocket and REST differ on purpose.

Each front has a client of its own: a WebSocket has a session that lives as long as the connection, and REST has a caller that lives as long
as one request. Most handlers work for both, and use :class:`IClient` alone. A handler of an action that only one front offers asks for more
with :class:`ISubscriber` or :class:`IPollingClient`: ``ISubscriber(request.session)`` is the session, typed, or raises a ``TypeError``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct
from zope.interface import Attribute, Interface

from dhtwisted.core.access import Principal
from dhtwisted.interfaces import IConnection, IOutput

FLUSH_SIZE = 32768
"""Bytes that are sent to a client at once. A connection with so much to send writes it, and shows then whether the client reads."""


class Conventions(Struct, frozen=True, kw_only=True):
    """How a front reads lists and updates (REST reference, sections 6 and 13a). The errors themselves say what else differs.

    :ivar entities_taken: how many entities a list has when ``take`` is absent; ``None`` for all.
    :ivar object_first: an update of a missing command that changes nothing is refused for the missing command, not for the missing change.
    :ivar newest_first: messages come in descending order when neither ``sortField`` nor ``sortOrder`` is given.
    :ivar refuses_pages: a negative ``take`` or ``skip``, or an unknown ``sortOrder``, of a list of messages is an error; else the list is
        empty, or in ascending order.
    :ivar sends_portions: a list of any length is sent whole, as fast as the client reads it; else it is cut, and says so.
    """

    entities_taken: int | None
    object_first: bool
    newest_first: bool
    refuses_pages: bool
    sends_portions: bool


WEBSOCKET = Conventions(entities_taken=100, object_first=False, newest_first=False, refuses_pages=True, sends_portions=False)
REST = Conventions(entities_taken=None, object_first=True, newest_first=True, refuses_pages=False, sends_portions=True)


class IClient(Interface):
    """The client of a request, on any front."""

    principal: Principal | None = Attribute(
        "The :class:`~dhtwisted.core.access.Principal` of the connection; ``None`` before the client has authenticated. A request may have "
        "another one, from a token of its own: handlers use ``request.principal``."
    )
    conventions: Conventions = Attribute("How this front reads lists and updates.")
    output: IConnection = Attribute("The connection, for limits and logs.")

    def remember_command(command_id: int) -> None:
        """Send the updates of a command to this client, which inserted it. A front without a way back to the client does nothing."""


class ISubscriber(IClient):
    """A client with a connection that stays open, so that events can be sent."""

    output: IOutput = Attribute("The way to the client.")
    subscriptions: dict[int, Any] = Attribute("Subscription id -> :class:`~dhtwisted.core.subscription.Subscription`.")

    def authenticated(principal: Principal) -> None:
        """Take on an identity, also for the subscriptions.

        :raises QuotaExceeded: the user has no room for the connection or its subscriptions; the old identity stays.
        """

    def subscribe(subscription: Any, replay: Any = None) -> None:
        """Begin a subscription. Its events follow the reply to the present request.

        :param subscription: a :class:`~dhtwisted.core.subscription.Subscription`.
        :param replay: a :class:`~dhtwisted.core.replay.Replay` that sends stored messages first. :meth:`start_replay` starts it, after the
            reply has left.
        :raises QuotaExceeded: the user has enough subscriptions.
        """

    def start_replay(subscription: Any) -> None:
        """Start the replay of a subscription."""

    def unsubscribe(subscription: Any) -> None:
        """End a subscription. Nothing of it follows."""


class IPollingClient(IClient):
    """A client that waits for one answer, and may go away meanwhile."""

    websocket_url: str = Attribute("Where the client finds the WebSocket, for ``info``.")

    def end_when_gone(end: Callable[[], None] | None) -> None:
        """Call a function when the client goes away or closes its side of the connection: the wait is over.

        :param end: replaces the function given before; ``None`` for none.
        """

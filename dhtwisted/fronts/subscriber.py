"""The identity of a client with an open connection, its subscriptions, and the events that it gets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from dhtwisted.core.client import WEBSOCKET, ISubscriber
from dhtwisted.core.coroutines import run
from dhtwisted.errors import StorageUnavailable
from dhtwisted.fronts.queues import EMPTY, append
from dhtwisted.kit.current_client import run_for_client

if TYPE_CHECKING:
    from collections import deque

    from dhtwisted.core.access import Principal
    from dhtwisted.core.quotas import UserAccount
    from dhtwisted.core.replay import Replay
    from dhtwisted.core.server import Server
    from dhtwisted.core.subscription import Subscription
    from dhtwisted.interfaces import IOutput
    from dhtwisted.model import Command, Notification

MAX_REMEMBERED_COMMANDS = 10_000


@implementer(ISubscriber)
class Subscriber:
    """See :class:`~dhtwisted.core.client.ISubscriber`.

    :param server: the :class:`~dhtwisted.core.server.Server`.
    :param output: the way to the client.
    """

    log = Logger("dhtwisted.fronts.session.Session")  # The name by which operators know these lines.
    conventions = WEBSOCKET
    counts_connection = True
    """Whether the client counts as a connection of its user; false where something else has counted it already."""

    __slots__ = ("_commands", "_drained", "_is_closed", "_replays", "_server", "output", "principal", "subscriptions")

    def __init__(self, server: Server, output: IOutput) -> None:
        self.output = output
        self.principal: Principal | None = None
        self.subscriptions: dict[int, Subscription] = {}
        self._server = server
        self._commands: deque[int] = EMPTY
        self._replays: deque[Replay] = EMPTY
        self._drained: Deferred[None] | None = None
        self._is_closed = False

    # Identity

    def authenticated(self, principal: Principal) -> None:
        """Take on an identity, also for the subscriptions.

        :raises QuotaExceeded: the user has no room for the connection or its subscriptions; the old identity stays.
        """
        if not self._is_closed:
            self._count_for(principal.account)
        if self._server.settings.compatibility.frozen_connections:
            principal = principal.frozen()
        self.principal = principal
        for subscription in self.subscriptions.values():
            subscription.principal = principal
        if principal.device_id is not None:
            self._keep_only(principal.device_id)
        if self._server.settings.log.level == "debug":
            self.log.debug("authenticated", connection=self.output.number, address=self.output.address, user=principal.user_id)

    def begin_as(self, principal: Principal) -> None:
        """Take on an identity at the start of the connection.

        :raises QuotaExceeded: the user has enough connections.
        """
        self._count_for(principal.account)
        self.principal = principal

    def _count_for(self, account: UserAccount) -> None:
        """Count the connection for a user, and the subscriptions that count for another."""
        quotas, before = self._server.quotas, None if self.principal is None else self.principal.account
        moving = [subscription for subscription in self.subscriptions.values() if subscription.principal.account is not account]
        ids = sum(subscription.id_count for subscription in moving)
        quotas.take(
            account, connections=int(self.counts_connection and before is not account), subscriptions=len(moving), subscription_ids=ids
        )
        for subscription in moving:
            self._stop_counting(subscription)
        if self.counts_connection and before not in (None, account):
            quotas.give_back(before, connections=1)

    def _stop_counting(self, subscription: Subscription) -> None:
        self._server.quotas.give_back(subscription.principal.account, subscriptions=1, subscription_ids=subscription.id_count)

    def _keep_only(self, device_id: str) -> None:
        """End the subscriptions to anything but this device, and forget the commands: another identity asked for them."""
        for subscription in list(self.subscriptions.values()):
            if subscription.device_ids != {device_id}:
                self.unsubscribe(subscription)
        self._forget_commands()

    # Subscriptions and replays

    def subscribe(self, subscription: Subscription, replay: Replay | None = None) -> None:
        """Begin a subscription. Its events follow the reply to the present request.

        :param replay: sends stored messages first. :meth:`start_replay` starts it, after the reply has left.
        :raises QuotaExceeded: the user has enough subscriptions.
        """
        if self._is_closed:
            return
        self._server.quotas.take(subscription.principal.account, subscriptions=1, subscription_ids=subscription.id_count)
        if replay is None:
            self.go_live(subscription)
        else:
            subscription.replay = replay
        self.subscriptions[subscription.id] = subscription
        self._server.broker.add(subscription)

    def unsubscribe(self, subscription: Subscription) -> None:
        """End a subscription. Nothing of it follows."""
        del self.subscriptions[subscription.id]
        self._stop_counting(subscription)
        self._server.broker.remove(subscription)
        subscription.send = None
        if subscription.replay is not None:
            subscription.replay.cancel()

    def go_live(self, subscription: Subscription) -> None:
        """Send the events of a subscription as they come."""
        subscription.replay = None
        subscription.send = self.output.send_event

    def start_replay(self, subscription: Subscription) -> None:
        """Send stored messages, in turn with the other replays of this client: all at once would hold one page each in memory."""
        if self._is_closed:
            return
        others = bool(self._replays)
        self._replays = append(self._replays, subscription.replay)
        if not others:
            client = None if self.principal is None else self.principal.user_id
            run_for_client(client, run, self._send_replays(), self._replays_ended)

    async def _send_replays(self) -> None:
        while self._replays:
            has_more = await self._replays[0].advance()
            self._replays.rotate(-1)
            if not has_more:
                self._replays.pop()

    def _replays_ended(self, _: None, error: Exception | None) -> None:
        self._replays = EMPTY
        if error is None or self._is_closed:
            return
        # The client was promised all messages since its timestamp. It must not go on without them.
        reason = "storage unavailable" if isinstance(error, StorageUnavailable) else "replay failed"
        self.log.error(
            "a subscription ends, {reason}: {error}",
            reason=reason,
            error=str(error),
            connection=self.output.number,
            address=self.output.address,
        )
        self.output.abort(reason)

    # Events

    def deliver(self, subscription: Subscription, message: Command | Notification, body: bytes) -> None:
        """Take an event for a subscription from the broker."""
        if subscription.replay is not None:
            subscription.replay.receive(message, body)
        else:
            self.output.send_event(subscription.prefix, body)

    def send_event(self, prefix: bytes, body: bytes) -> None:
        """Send an event now."""
        self.output.send_event(prefix, body)

    def disconnect(self, reason: str) -> None:
        """End the connection, since the client missed events.

        :param reason: a few words, for the log.
        """
        self.output.abort(reason)

    def remember_command(self, command_id: int) -> None:
        """Send the updates of a command to this client, which inserted it. This holds for the last 10,000 commands of a client."""
        if self._is_closed:
            return
        self._commands = append(self._commands, command_id)
        self._server.broker.remember_inserter(command_id, self)
        if len(self._commands) > MAX_REMEMBERED_COMMANDS:
            self._server.broker.forget_inserter(self._commands.popleft())

    def _forget_commands(self) -> None:
        for command_id in self._commands:
            self._server.broker.forget_inserter(command_id)
        self._commands = EMPTY

    # The state of the connection

    @property
    def congested(self) -> bool:
        """True while the client does not read what is sent."""
        return self.output.congested

    def drained(self) -> Deferred[None]:
        """A Deferred that fires when the client reads again, or is gone."""
        if self._drained is None:
            self._drained = Deferred()
        waiting: Deferred[None] = Deferred()
        self._drained.addBoth(lambda _: waiting.callback(None))
        return waiting

    def writable(self) -> None:
        """The client reads again; the transport calls this after congestion."""
        if self._drained is not None:
            drained, self._drained = self._drained, None
            drained.callback(None)

    def close(self) -> None:
        """Forget everything of a client that is gone."""
        if self.principal is not None and self.counts_connection and not self._is_closed:
            self._server.quotas.give_back(self.principal.account, connections=1)
        self._is_closed = True
        for subscription in list(self.subscriptions.values()):
            self.unsubscribe(subscription)
        self._forget_commands()
        if self._drained is not None:
            drained, self._drained = self._drained, None
            drained.callback(None)

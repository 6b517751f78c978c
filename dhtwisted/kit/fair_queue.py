"""A queue that gives a limited number of places to clients in turn.

Put a :class:`FairQueue` in front of a resource that clients share, such as connections to a database or threads that read a file. Waiting
clients are served one after the other, however much each of them asks for. So a client that asks for much waits only for itself.

A stranger with many addresses could appear as many clients. So all strangers together get no more than all users together.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from dhtwisted.errors import Overloaded
from dhtwisted.kit.current_client import CURRENT, Client, is_stranger

MAX_WAITING = 1000

T = TypeVar("T")
_Queues = dict[Client, deque[Deferred[None]]]


class FairQueue:
    """Gives places to clients in turn.

    :param clock: for the time limit.
    :param places: how many calls run at once.
    :param resource: what the places belong to, in words, for error messages.
    :param patience: seconds that a call waits for a place; ``None`` for no limit.
    :param max_places_each: how many places one client may have. By default all but one, so that another client gets a place at once.
    :param max_waiting: how many calls may wait. When there are more, the client with most waiting calls loses one; strangers lose before
        users.
    """

    def __init__(
        self,
        clock: IReactorTime,
        places: int,
        resource: str,
        patience: float | None = None,
        max_places_each: int | None = None,
        max_waiting: int = MAX_WAITING,
    ) -> None:
        self._clock = clock
        self._free = self._places = places
        self._max_places_each = max_places_each or max(1, places - 1)
        self._max_waiting = max_waiting
        self._resource = resource
        self._patience = patience
        self._places_of_client: dict[Client, int] = {}
        # First users, then strangers: client -> its waiting calls. The client whose turn is next comes first.
        self._waiting: tuple[_Queues, _Queues] = ({}, {})
        self._places_of_group = [0, 0]
        self._last_was_stranger = False
        self._idle: Deferred[None] | None = None

    async def run(self, function: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        """Call a function as soon as there is a place, for the current client.

        :param function: its result is awaited.
        :raises Overloaded: too many calls wait, or this one has waited too long.
        """
        client = CURRENT.client
        if self._free and self._may_take(client):
            self._take(client)
        else:
            await self._wait(client)
        try:
            return await function(*arguments)
        finally:
            self._leave(client)

    def idle(self) -> Deferred[None]:
        """Wait until no call runs or waits."""
        if self._free == self._places:
            return succeed(None)
        self._idle = self._idle or Deferred()
        return self._idle

    def drop(self, error: Exception) -> None:
        """Fail all waiting calls with an error."""
        for queue in [queue for queues in self._waiting for queue in queues.values()]:
            for waiting in list(queue):
                waiting.errback(error)

    def _may_take(self, client: Client) -> bool:
        return client is None or self._places_of_client.get(client, 0) < self._max_places_each

    def _take(self, client: Client) -> None:
        self._free -= 1
        self._places_of_client[client] = self._places_of_client.get(client, 0) + 1
        self._last_was_stranger = is_stranger(client)
        self._places_of_group[self._last_was_stranger] += 1

    async def _wait(self, client: Client) -> None:
        self._make_room(client)
        queue = self._waiting[is_stranger(client)].setdefault(client, deque())
        waiting: Deferred[None] = Deferred(lambda _: None)
        queue.append(waiting)
        timer = None if self._patience is None else self._clock.callLater(self._patience, self._time_out, waiting)
        try:
            await waiting
        except BaseException:
            self._remove(client, waiting)
            raise
        finally:
            if timer is not None and timer.active():
                timer.cancel()

    def _make_room(self, client: Client) -> None:
        users, strangers = (list(queues.values()) for queues in self._waiting)
        if sum(map(len, users + strangers)) < self._max_waiting:
            return
        error = Overloaded(f"too many requests wait for {self._resource}")
        if strangers and not is_stranger(client):
            max(strangers, key=len)[-1].errback(error)
            return
        longest = max(users + strangers, key=len)
        if len(longest) <= len(self._waiting[is_stranger(client)].get(client, ())) + 1:
            raise error
        longest[-1].errback(error)

    def _time_out(self, waiting: Deferred[None]) -> None:
        waiting.errback(Overloaded(f"{self._resource} was too busy: the request waited for {self._patience} seconds"))

    def _remove(self, client: Client, waiting: Deferred[None]) -> None:
        queues = self._waiting[is_stranger(client)]
        queue = queues.get(client)
        if queue is not None and waiting in queue:
            queue.remove(waiting)
            if not queue:
                del queues[client]

    def _leave(self, client: Client) -> None:
        self._free += 1
        self._places_of_group[is_stranger(client)] -= 1
        self._places_of_client[client] -= 1
        if not self._places_of_client[client]:
            del self._places_of_client[client]
        self._give_free_places()
        if self._idle is not None and self._free == self._places:
            idle, self._idle = self._idle, None
            idle.callback(None)

    def _give_free_places(self) -> None:
        # A loop, because a call that gets a place may leave it at once.
        while self._free and not isinstance(client := self._next(), _Nobody):
            queues = self._waiting[is_stranger(client)]
            queue = queues.pop(client)
            waiting = queue.popleft()
            if queue:
                queues[client] = queue
            self._take(client)
            waiting.callback(None)

    def _next(self) -> Client | _Nobody:
        """Choose the client whose turn it is: from users or strangers, whichever have fewer places, or else whichever were not last."""
        users, strangers = self._places_of_group
        strangers_first = strangers < users or (strangers == users and not self._last_was_stranger)
        found = self._next_of(self._waiting[strangers_first])
        return self._next_of(self._waiting[not strangers_first]) if found is _NOBODY else found

    def _next_of(self, queues: _Queues) -> Client | _Nobody:
        """Of the clients with fewest places, choose the one that has waited longest since its last turn."""
        best: Client | _Nobody = _NOBODY
        fewest = self._places
        for client in queues:
            places = self._places_of_client.get(client, 0)
            if places < fewest and self._may_take(client):
                best, fewest = client, places
                if not places:
                    break
        return best


class _Nobody:
    """No client; ``None`` is the server itself."""


_NOBODY: Final = _Nobody()

"""For whom the server works at this moment, and places of shared things that clients get in turn.

What many share, such as the connections to a database or the threads that read a file, has a :class:`Turns` before it. Clients that wait
are served one after the other, however much each of them asks for: so who asks for much waits behind themselves. Whoever has many addresses
could be many clients, as long as they are nobody: so all strangers together get no more than the users get together. It is the server that
knows for whom it works, and a storage that has the queue; what lies between them need not be told.
"""

from collections import deque

from twisted.internet.defer import Deferred, succeed

from dhtwisted.errors import Overloaded


class _Moment:
    """What holds at this moment, in the reactor thread.

    :ivar client: for whom the server works: the id of a user, an address of somebody who is nobody yet, ``None`` for itself.
    """

    __slots__ = ("client",)

    def __init__(self):
        self.client = None


NOW = _Moment()


def serve(client, function, *arguments):
    """Call a function on behalf of a client; what it begins, and :func:`dhtwisted.core.coroutines.run` drives on, remains on their
    behalf."""
    before, NOW.client = NOW.client, client
    try:
        return function(*arguments)
    finally:
        NOW.client = before


MOST_WAITING = 1000


def is_stranger(client):
    """Whether a client, as :attr:`_Moment.client` has it, is nobody yet: an address."""
    return isinstance(client, str)


class Turns:
    """Places that are given to clients in turn.

    :param clock: an ``IReactorTime``.
    :param places: how many there are.
    :param what: what the places are of, in words, for the log.
    :param patience: seconds that a client waits for a place; ``None`` for as long as it takes.
    :param share: how many places one client has at most. Unless it is said, all but one of several: so another gets one at once.
    :param most: how many may wait. When there are more, who has most in the queue gives way, strangers first to a user.
    """

    def __init__(self, clock, places, what, patience=None, share=None, most=MOST_WAITING):
        self._clock = clock
        self._free = self._places = places
        self._share = share or max(1, places - 1)
        self._most = most
        self._what = what
        self._patience = patience
        self._held = {}
        # By whether they are strangers: client -> what waits, in the order of their turns.
        self._waiting = ({}, {})
        self._places_of = [0, 0]
        self._last = False
        self._idle = None

    async def run(self, function, *arguments):
        """Call a function at a place, as soon as there is one.

        :param function: its result is awaited.
        :raises Overloaded: too many wait, or the client has waited too long.
        """
        client = NOW.client
        if self._free and self._may_take(client):
            self._take(client)
        else:
            await self._wait(client)
        try:
            return await function(*arguments)
        finally:
            self._leave(client)

    def idle(self):
        """Wait until nobody has a place or waits for one.

        :returns: a Deferred of ``None``.
        """
        if self._free == self._places:
            return succeed(None)
        self._idle = self._idle or Deferred()
        return self._idle

    def drop(self, error):
        """Have all who wait told an error."""
        for queue in [queue for queues in self._waiting for queue in queues.values()]:
            for waiting in list(queue):
                waiting.errback(error)

    def _may_take(self, client):
        return client is None or self._held.get(client, 0) < self._share

    def _take(self, client):
        self._free -= 1
        self._held[client] = self._held.get(client, 0) + 1
        self._last = is_stranger(client)
        self._places_of[self._last] += 1

    async def _wait(self, client):
        self._make_room(client)
        queue = self._waiting[is_stranger(client)].setdefault(client, deque())
        waiting = Deferred(lambda _: None)
        queue.append(waiting)
        timer = None if self._patience is None else self._clock.callLater(self._patience, self._give_up, waiting)
        try:
            await waiting
        except BaseException:
            self._forget(client, waiting)
            raise
        finally:
            if timer is not None and timer.active():
                timer.cancel()

    def _make_room(self, client):
        users, strangers = (list(queues.values()) for queues in self._waiting)
        if sum(map(len, users + strangers)) < self._most:
            return
        error = Overloaded(f"too many questions wait for {self._what}")
        if strangers and not is_stranger(client):
            max(strangers, key=len)[-1].errback(error)
            return
        longest = max(users + strangers, key=len)
        if len(longest) <= len(self._waiting[is_stranger(client)].get(client, ())) + 1:
            raise error
        longest[-1].errback(error)

    def _give_up(self, waiting):
        waiting.errback(Overloaded(f"{self._what} was too busy for a question for {self._patience} seconds"))

    def _forget(self, client, waiting):
        queues = self._waiting[is_stranger(client)]
        queue = queues.get(client)
        if queue is not None and waiting in queue:
            queue.remove(waiting)
            if not queue:
                del queues[client]

    def _leave(self, client):
        self._free += 1
        self._places_of[is_stranger(client)] -= 1
        self._held[client] -= 1
        if not self._held[client]:
            del self._held[client]
        # A loop: what gets a place may leave it at once.
        while self._free and (client := self._next()) is not _NOBODY:
            queues = self._waiting[is_stranger(client)]
            queue = queues.pop(client)
            waiting = queue.popleft()
            if queue:
                queues[client] = queue
            self._take(client)
            waiting.callback(None)
        if self._idle is not None and self._free == self._places:
            idle, self._idle = self._idle, None
            idle.callback(None)

    def _next(self):
        """Whose turn it is, of those who hold less together, users or strangers; of those who hold as much, of who was not last."""
        users, strangers = self._places_of
        strangers_first = strangers < users or (strangers == users and not self._last)
        found = self._next_of(self._waiting[strangers_first])
        return self._next_of(self._waiting[not strangers_first]) if found is _NOBODY else found

    def _next_of(self, queues):
        """Of those who hold least, who has waited longest since their last turn."""
        best, least = _NOBODY, self._places
        for client in queues:
            held = self._held.get(client, 0)
            if held < least and self._may_take(client):
                best, least = client, held
                if not held:
                    break
        return best


_NOBODY = object()

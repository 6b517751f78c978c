"""What the nodes of one database ask each other, over their bus.

Each node says every few seconds that it is there. Whoever asks waits for the answers of all that are there. A node that was silent for
:data:`SILENCE` beats is taken for dead. A node that does not hear itself knows nothing of the others: it waits, and takes nobody for dead.
Beats are counted, so that a clock that is set does no harm.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import json
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from dhtwisted.core.coroutines import run
from dhtwisted.errors import NodesUnavailable
from dhtwisted.kit.repeated_work import RepeatedWork

if TYPE_CHECKING:
    from dhtwisted.interfaces import INodeBus

BEAT = 2.0
"""Seconds between two signs of life."""

SILENCE = 3
"""Beats of silence after which a node is taken for dead."""

SETTLING = 1.0
"""Seconds after the start, or after an interruption of the bus, until all nodes that are there have said so."""

PATIENCE = 15.0
"""Seconds that a question waits at most."""

HERE, HELLO, GONE, QUESTION, ANSWER = "here", "hello", "gone", "question", "answer"

Answering = Callable[[str, Any], Awaitable[Any]]
"""Called with the node that asks and with its question; gives the answer, as JSON values."""


class _Question:
    """A question that waits for answers.

    :ivar missing: nodes that have not answered.
    :ivar answers: node -> its answer.
    """

    __slots__ = ("answers", "done", "failed", "missing")

    def __init__(self, missing: set[str]) -> None:
        self.missing = missing
        self.answers: dict[str, Any] = {}
        self.failed = False
        self.done: Deferred[None] = Deferred()

    def finish(self) -> None:
        """Wait no longer."""
        if not self.done.called:
            self.done.callback(None)


class Nodes:
    """This node, and the others on its database.

    :param reactor: for time and delayed calls.
    :param bus: a started bus.
    :ivar id: of this node; each start has another.
    :ivar answering: subject -> what answers the questions of others.
    :ivar is_settled: whether this node knows the others.
    :ivar on_death: called with the id of a node that is gone.
    :ivar on_return: called when the bus was interrupted for so long that others may have taken this node for dead.
    """

    log = Logger()

    settling = SETTLING

    def __init__(self, reactor: Any, bus: INodeBus) -> None:
        self.id = secrets.token_hex(8)
        self.answering: dict[str, Answering] = {}
        self.on_death: Callable[[str], object] = lambda node: None
        self.on_return: Callable[[], object] = lambda: None
        self._reactor = reactor
        self._bus = bus
        self.is_settled = False
        self._silent: dict[str, int] = {}
        self._own_silence = 0
        self._was_away = False
        self._settling: Any = None
        self._questions: dict[int, _Question] = {}
        self._last_question = 0
        self._waiting: list[Deferred[None]] = []
        self._gone: Deferred[None] | None = None
        self._beating = RepeatedWork(reactor, "telling other nodes that this one is there", self._beat)

    # This node

    def start(self) -> None:
        """Say that this node is there."""
        self._bus.listen(self._heard)
        self._say(HELLO)
        self._beating.start(BEAT)

    async def stop(self) -> None:
        """Say that this node is gone, as soon as it has nothing any more that others may take. Wait until they have heard it."""
        self._gone = Deferred()
        self._beating.stop()
        self._say(GONE)
        timer = self._reactor.callLater(SETTLING, self._heard_gone)
        await self._gone
        if timer.active():
            timer.cancel()
        for question in list(self._questions.values()):
            question.failed = True
            question.finish()
        self.is_settled = False
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None
        self._wake()

    def _heard_gone(self) -> None:
        if self._gone is not None and not self._gone.called:
            self._gone.callback(None)

    @property
    def others(self) -> set[str]:
        """The ids of the other nodes."""
        return set(self._silent)

    @property
    def is_first(self) -> bool:
        """Whether this node does what only one of them may do."""
        return self.is_settled and all(self.id < node for node in self._silent)

    def _beat(self) -> None:
        self._say(HERE)
        self._own_silence += 1
        if self._own_silence > 1:
            # The last beat was not heard. The others' beats are missing too, perhaps for longer by one.
            self.is_settled, self._was_away = False, True
        if not self.is_settled:
            return
        for node, silence in list(self._silent.items()):
            self._silent[node] = silence + 1
            if silence >= SILENCE:
                self._lost(node)

    def _lost(self, node: str) -> None:
        self._silent.pop(node, None)
        for question in list(self._questions.values()):
            self._without(question, node)
        try:
            self.on_death(node)
        except Exception:
            self.log.failure("what follows the end of a node failed")

    # Questions

    async def ask(self, subject: str, question: Any) -> list[Any]:
        """Ask all other nodes.

        :param question: JSON values; at most 6,500 bytes in JSON.
        :returns: their answers, in no order.
        :raises NodesUnavailable: not all that are there have answered.
        """
        await self._wait_until_settled()
        if not self._silent:
            return []
        self._last_question += 1
        number, asked = self._last_question, _Question(set(self._silent))
        self._questions[number] = asked
        timer = self._reactor.callLater(PATIENCE, asked.finish)
        self._say(QUESTION, number, subject, question)
        await asked.done
        del self._questions[number]
        if timer.active():
            timer.cancel()
        if asked.missing or asked.failed:
            raise NodesUnavailable()
        return list(asked.answers.values())

    async def _wait_until_settled(self) -> None:
        if not self.is_settled:
            waiting: Deferred[None] = Deferred()
            self._waiting.append(waiting)
            timer = self._reactor.callLater(PATIENCE, self._wake)
            await waiting
            if timer.active():
                timer.cancel()
        if not self.is_settled:
            raise NodesUnavailable()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            one.callback(None)

    def _answer(self, sender: str, number: int, subject: str, question: Any) -> None:
        run(self._find_answer(subject, sender, question), partial(self._answered, sender, number))

    async def _find_answer(self, subject: str, sender: str, question: Any) -> Any:
        answering = self.answering.get(subject)
        return None if answering is None else await answering(sender, question)

    def _answered(self, sender: str, number: int, answer: Any, error: BaseException | None) -> None:
        if error is not None:
            self.log.failure("a question of another node could not be answered", failure=Failure(error))
        self._say(ANSWER, sender, number, error is None, answer)

    def _take_answer(self, sender: str, to: str, number: int, is_good: bool, answer: Any) -> None:
        question = self._questions.get(number) if to == self.id else None
        if question is not None:
            question.answers[sender] = answer
            question.failed = question.failed or not is_good
            self._without(question, sender)

    def _without(self, question: _Question, node: str) -> None:
        question.missing.discard(node)
        if not question.missing:
            question.finish()

    # The bus

    def _say(self, *words: Any) -> None:
        self._bus.tell(json.encode((words[0], self.id, *words[1:])).decode())

    def _heard(self, text: str) -> None:
        what, sender, *rest = json.decode(text)
        if sender == self.id:
            self._heard_self(what)
            return
        if what == GONE:
            self._lost(sender)
            return
        self._silent[sender] = 0
        if what == HELLO:
            self._say(HERE)
        elif what == QUESTION:
            self._answer(sender, *rest)
        elif what == ANSWER:
            self._take_answer(sender, *rest)

    def _heard_self(self, what: str) -> None:
        self._own_silence = 0
        if what == GONE:
            self._heard_gone()
        elif not self.is_settled and self._settling is None:
            if self._was_away:
                self._say(HELLO)
            self._settling = self._reactor.callLater(SETTLING, self._settled)

    def _settled(self) -> None:
        self._settling = None
        self.is_settled, was_away, self._was_away = True, self._was_away, False
        self._silent = dict.fromkeys(self._silent, 0)
        self._wake()
        if was_away:
            self.on_return()

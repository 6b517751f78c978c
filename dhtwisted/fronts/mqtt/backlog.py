"""What waits for a session in the storage alone: which numbers, how many and how large."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from dhtwisted.fronts.mqtt.small_maps import UNUSED

if TYPE_CHECKING:
    from dhtwisted.fronts.mqtt.delivery import Delivery


class Backlog:
    """The messages of one session that are in the storage and not in memory, in the order in which they are sent.

    :param first_id: the packet id of the first one. All ids from it to the last one that the session has given may be in use.
    :ivar count: how many messages there are.
    :ivar size: their bytes, as they count for the bounds of the session.
    :ivar shared: number -> the shared filter by which the session was chosen, for those that came by one.
    :ivar maybe_sent: messages up to this number may have left before the server crashed.
    :ivar is_checked: the rights of the session have changed: each message is looked at when it is read.
    :ivar is_reading: whether a portion is being read.
    """

    __slots__ = ("_ranges", "count", "first_id", "is_checked", "is_reading", "maybe_sent", "shared", "size")

    def __init__(self, first_id: int) -> None:
        self.first_id = first_id
        self.count = self.size = self.maybe_sent = 0
        self.shared: dict[int, str] = UNUSED
        self.is_checked = self.is_reading = False
        self._ranges: list[list[int]] = []

    def add(self, number: int, size: int, share: str = "") -> None:
        """Add a stored message behind all others."""
        self.count += 1
        self.size += size
        if share:
            self._note_share(number, share)
        extend(self._ranges, number)

    def put_back(self, deliveries: Sequence[Delivery]) -> None:
        """Add stored messages before all others.

        :param deliveries: in their order; at least one.
        """
        ranges: list[list[int]] = []
        for delivery in deliveries:
            self.count += 1
            self.size += delivery.size
            if delivery.share:
                self._note_share(delivery.number, delivery.share)
            extend(ranges, delivery.number)
        ranges.extend(self._ranges)
        self._ranges = ranges
        self.first_id = deliveries[0].packet_id

    def _note_share(self, number: int, share: str) -> None:
        if self.shared is UNUSED:
            self.shared = {}
        self.shared[number] = share

    def numbers(self) -> Iterator[int]:
        """The numbers of all."""
        for first, last in self._ranges:
            yield from range(first, last + 1)

    @property
    def portion(self) -> tuple[int, int]:
        """The first number and the last one of those that follow each other at the begin."""
        first, last = self._ranges[0]
        return first, last

    def take(self, portion: tuple[int, int], found: Iterable[Delivery], is_last: bool) -> list[Delivery]:
        """Take what was read out of the backlog. What is missing there is gone.

        :param portion: of which it was read.
        :param found: in the order of their numbers.
        :param is_last: whether it is all of the portion.
        :returns: those that are to be sent; none if the begin of the backlog is another one by now.
        """
        if not self._ranges or self._ranges[0][0] != portion[0]:
            return []
        present, taken = self._ranges[0], []
        for delivery in found:
            self.size -= delivery.size
            self._pass(present, delivery.number)
            delivery.share = self.shared.pop(delivery.number, "")
            self.first_id = delivery.packet_id
            taken.append(delivery)
        if is_last:
            self._pass(present, portion[1])
        if present[0] > present[1]:
            del self._ranges[0]
        return taken

    def _pass(self, present: list[int], number: int) -> None:
        """Everything up to a number has left."""
        self.count -= number + 1 - present[0]
        present[0] = number + 1


def extend(ranges: list[list[int]], number: int) -> None:
    """Add a number behind others. Those that follow each other are one range, with its first and its last."""
    if ranges and ranges[-1][1] == number - 1:
        ranges[-1][1] = number
    else:
        ranges.append([number, number])

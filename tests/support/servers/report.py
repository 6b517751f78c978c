"""The result of a load: numbers, and everything that breaks the contract of the server."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from tests.support.servers.process import Client

if TYPE_CHECKING:
    from tests.support.servers.load import Reader, Writer

Stored = dict[tuple[str, str], list[dict[str, Any]]]
"""Kind and device id -> the messages as replies have them, by ascending id."""

KINDS = ("notification", "command")
NAME = "load"
"""The name of all messages of a load. It distinguishes them from messages that a server writes itself."""

PAGE = 1000


def read_stored(client: Client, device_ids: Iterable[str]) -> Stored:
    """Read all messages of a load from a server."""
    return {(kind, device_id): _read_all(client, kind, device_id) for device_id in device_ids for kind in KINDS}


def _read_all(client: Client, kind: str, device_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    while len(found) % PAGE == 0:
        page = client.call(f"{kind}/list", deviceId=device_id, names=[NAME], take=PAGE, skip=len(found))[f"{kind}s"]
        found += page
        if not page:
            break
    return sorted(found, key=lambda message: message["id"])


class Report:
    """A load in numbers.

    :ivar sent: how many requests were sent.
    :ivar acknowledged: how many succeeded.
    :ivar refused: code -> how many were refused with it.
    :ivar unanswered: how many have an unknown result, since the connection was lost.
    :ivar found: how many messages are stored.
    :ivar delivered: how many messages all readers together got.
    :ivar longest: the longest time from a request to its answer, in seconds.
    :ivar overtaken: how many requests the server handled before an earlier one that was in flight on the same connection. The contract
        allows that.
    :ivar faults: what is wrong -> where; empty if the server has kept the contract.
    """

    def __init__(self, writers: Sequence[Writer], readers: Sequence[Reader], stored: Stored) -> None:
        self.sent = sum(len(writer.sent) for writer in writers)
        self.acknowledged = sum(len(writer.acknowledged) for writer in writers)
        self.refused = Counter(code for writer in writers for _, code, _ in writer.refused)
        self.unanswered = sum(len(writer.unanswered) for writer in writers)
        self.found = sum(map(len, stored.values()))
        self.delivered = sum(len(messages) for reader in readers for messages in reader.got.values())
        self.longest = max(writer.longest for writer in writers)
        self.overtaken = 0
        self._faults: dict[str, list[str]] = defaultdict(list)
        for writer in writers:
            for kind in KINDS:
                self._judge_inserts(writer, kind, stored[kind, writer.device_id])
            self._judge_updates(writer, stored["command", writer.device_id])
        for reader in readers:
            for key, messages in reader.got.items():
                self._judge_deliveries(key, messages, stored[key])
            self._note("delivered twice", reader.repeated)
        self.faults = dict(self._faults)

    def __repr__(self) -> str:
        values = {name: value for name, value in vars(self).items() if not name.startswith("_")}
        return f"<Report {values}>"

    def _note(self, fault: str, places: Iterable[str]) -> None:
        # An empty list would count as a fault.
        if places := list(places):
            self._faults[fault] += places

    def _judge_inserts(self, writer: Writer, kind: str, messages: list[dict[str, Any]]) -> None:
        """Acknowledged messages are stored as the reply says. Others are stored at most once. Nothing else is stored."""
        where = f"{kind} {{}} of {writer.device_id}".format
        numbers = Counter(message["parameters"] for message in messages)
        said = {number: writer.acknowledged[number] for number in writer.acknowledged if writer.sent[number] == kind}
        is_stored = {message["parameters"]: (message["id"], message["timestamp"]) for message in messages}
        self._note("missed", (where(number) for number in said if number not in numbers))
        self._note("doubled", (where(number) for number, count in numbers.items() if count > 1))
        self._note("changed", (where(number) for number in said.keys() & is_stored.keys() if said[number] != is_stored[number]))
        self._note("never sent", (where(number) for number in numbers if writer.sent.get(number) != kind))
        self._note("acknowledged out of order", map(where, _sent_later_but_not_after(said, writer.sent_by_then)))
        self.overtaken += len(_out_of_order(said.values()))
        self._note("stored out of order", map(where, _out_of_order((message["id"], message["timestamp"]) for message in messages)))

    def _judge_updates(self, writer: Writer, commands: list[dict[str, Any]]) -> None:
        """Each command has its last acknowledged update, or one that may have come after it."""
        sent: dict[Any, list[int]] = defaultdict(list)
        for number, command_id in writer.sent.items():
            if command_id not in KINDS:
                sent[command_id].append(number)
        results = {command["id"]: command["result"] for command in commands}
        for command_id, numbers in sent.items():
            last = max((number for number in numbers if number in writer.acknowledged), default=0)
            result = results.get(command_id)
            if last and (result not in numbers or writer.sent_by_then.get(result, last) < last):
                self._note("update missed", [f"command {command_id} of {writer.device_id}"])
            else:
                self.overtaken += result in writer.acknowledged and result != last

    def _judge_deliveries(self, key: tuple[str, str], messages: list[tuple[int, str, Any]], stored: list[dict[str, Any]]) -> None:
        """All stored messages were delivered, in order and unchanged, and nothing else."""
        where = f"{key[0]} {{}} of {key[1]}".format
        got = {message[0]: message for message in messages}
        expected = {message["id"]: (message["id"], message["timestamp"], message["parameters"]) for message in stored}
        self._note("not delivered", map(where, expected.keys() - got.keys()))
        self._note("delivered but not stored", map(where, got.keys() - expected.keys()))
        self._note("delivered otherwise than stored", (where(id_) for id_ in got.keys() & expected.keys() if got[id_] != expected[id_]))
        self._note("delivered out of order", map(where, _out_of_order(message[:2] for message in messages)))


def _out_of_order(messages: Iterable[tuple[Any, ...]]) -> list[Any]:
    """The ids of messages with an id that is not larger than the one before, or with a smaller timestamp."""
    return [later[0] for earlier, later in pairwise(messages) if later[0] <= earlier[0] or later[1] < earlier[1]]


def _sent_later_but_not_after(said: dict[int, tuple[Any, Any]], sent_by_then: dict[int, int]) -> list[int]:
    """The numbers of messages that were sent after an earlier one was acknowledged, and have no larger id or a smaller timestamp."""
    found: list[int] = []
    waiting, highest = iter(said), (0, "")
    earlier = next(waiting, 0)
    for number, (message_id, timestamp) in said.items():
        while sent_by_then[earlier] < number:
            highest = max(highest, said[earlier])
            earlier = next(waiting)
        if message_id <= highest[0] or timestamp < highest[1]:
            found.append(number)
    return found

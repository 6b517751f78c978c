"""What became of a load: numbers, and whatever is wrong by the contract of the server."""

from collections import Counter, defaultdict
from itertools import pairwise

KINDS = ("notification", "command")
NAME = "load"
"""Of all messages of a load, which tells them from what a server writes by itself."""

PAGE = 1000


def read_stored(client, device_ids):
    """Read all messages of a load from a server.

    :returns: ``(kind, device id)`` -> the messages, as replies have them, by ascending id.
    """
    return {(kind, device_id): _read_all(client, kind, device_id) for device_id in device_ids for kind in KINDS}


def _read_all(client, kind, device_id):
    found = []
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
    :ivar unanswered: how many were lost with a connection: nobody knows what became of them.
    :ivar found: how many messages are stored.
    :ivar delivered: how many messages the readers got, in all.
    :ivar longest: seconds from a request to its answer.
    :ivar overtaken: how many requests were carried out before an earlier one that was in flight with them on the same connection. The
        contract allows it.
    :ivar faults: what is wrong -> where; empty if all is as promised.
    """

    def __init__(self, writers, readers, stored):
        self.sent = sum(len(writer.sent) for writer in writers)
        self.acknowledged = sum(len(writer.acknowledged) for writer in writers)
        self.refused = Counter(code for writer in writers for _, code, _ in writer.refused)
        self.unanswered = sum(len(writer.unanswered) for writer in writers)
        self.found = sum(map(len, stored.values()))
        self.delivered = sum(len(messages) for reader in readers for messages in reader.got.values())
        self.longest = max(writer.longest for writer in writers)
        self.overtaken = 0
        self._faults = defaultdict(list)
        for writer in writers:
            for kind in KINDS:
                self._judge_inserts(writer, kind, stored[kind, writer.device_id])
            self._judge_updates(writer, stored["command", writer.device_id])
        for reader in readers:
            for key, messages in reader.got.items():
                self._judge_deliveries(key, messages, stored[key])
            self._note("delivered twice", reader.repeated)
        self.faults = dict(self._faults)

    def __repr__(self):
        values = {name: value for name, value in vars(self).items() if not name.startswith("_")}
        return f"<Report {values}>"

    def _note(self, fault, places):
        # An empty entry would be a fault.
        if places := list(places):
            self._faults[fault] += places

    def _judge_inserts(self, writer, kind, messages):
        """Each that was acknowledged is stored as was said, each that was not at most once, nothing else is."""
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

    def _judge_updates(self, writer, commands):
        """Of each command the last update that was acknowledged is there, or one that may have come after it."""
        sent = defaultdict(list)
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

    def _judge_deliveries(self, key, messages, stored):
        """All that is stored came, in order and as it is stored, and nothing else."""
        where = f"{key[0]} {{}} of {key[1]}".format
        got = {message[0]: message for message in messages}
        expected = {message["id"]: (message["id"], message["timestamp"], message["parameters"]) for message in stored}
        self._note("not delivered", map(where, expected.keys() - got.keys()))
        self._note("delivered but not stored", map(where, got.keys() - expected.keys()))
        self._note("delivered otherwise than stored", (where(id_) for id_ in got.keys() & expected.keys() if got[id_] != expected[id_]))
        self._note("delivered out of order", map(where, _out_of_order(message[:2] for message in messages)))


def _out_of_order(messages):
    """Ids of messages whose id is not above that of the one before, or whose timestamp is below."""
    return [later[0] for earlier, later in pairwise(messages) if later[0] <= earlier[0] or later[1] < earlier[1]]


def _sent_later_but_not_after(said, sent_by_then):
    """Numbers of messages that were sent when an earlier one had been acknowledged, and have no higher id or a lower timestamp."""
    found, waiting, highest = [], iter(said), (0, "")
    earlier = next(waiting, None)
    for number, (message_id, timestamp) in said.items():
        while sent_by_then[earlier] < number:
            highest = max(highest, said[earlier])
            earlier = next(waiting)
        if message_id <= highest[0] or timestamp < highest[1]:
            found.append(number)
    return found

"""The load generator in the protocols of the peers, and with devices that come back: one wrong message is found out."""

import json
import os

import pytest
import pytest_twisted

from tests.support import faulty_peers as peers
from tests.support import faulty_servers as faulty
from tests.support.loadgen import CLEAN, LOSS, LOST_AFTER, NOT_DONE, needs_compiler, start

pytestmark = needs_compiler

KINDS = {
    "http": (peers.HttpConnection, {"path": "/insert", "header": ["A: b", "C: d"], "ack": '"id":'}),
    "nats": (peers.NatsConnection, {"topic": "readings", "ack": '"seq":', "error": '"error"'}),
    "postgres": (peers.PostgresConnection, {"setup": "INSERT INTO t VALUES ($1)"}),
}
ERROR = {
    "http": (b"201 Created", b"500 Failed!"),
    "nats": (b'9\r\n{"seq":1}', b'12\r\n{"error":{}}'),
    "postgres": (b"C\0\0\0\x0fINSERT 0 1\0", b"E\0\0\0\x0fSERROR no\0\0"),
}
MISTAKES = {
    "none": (faulty.none, {}),
    "drop": (faulty.drop("answer"), {"unanswered": 1}),
    "double": (faulty.double("answer"), {"unknown": 1}),
    "error": (None, {"errors": 1}),
}
PAYLOAD = '{"n":{n}}'


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mistake", MISTAKES)
async def test_one_wrong_answer_is_found(load, kind, mistake):
    connection, options = KINDS[kind]
    factory = peers.Peer(connection)
    fault, faults = MISTAKES[mistake]
    factory.fault = fault or faulty.replace("answer", *ERROR[kind])
    if (kind, mistake) == ("nats", "double"):
        # Its answers have numbers.
        faults = {"answered_twice": 1}
    outcome = await load(factory, proto=kind, pubs=2, payload=PAYLOAD, patience=LOST_AFTER, **options)
    assert (outcome.status, outcome.faults) == (LOSS if faults else CLEAN, faults), outcome.said
    if not faults:
        assert outcome.figures["answered"] == 200 and outcome.figures["ack_us"]["p99"] > 0


@pytest_twisted.ensureDeferred
async def test_requests_over_http_are_what_was_asked_for(load):
    peers.HttpConnection.requests.clear()
    factory = peers.Peer(peers.HttpConnection)
    await load(factory, proto="http", path="/a?b=c", header="A: b", payload=PAYLOAD, requests=1)
    await load(factory, proto="http", method="GET", path="/list", payload="", requests=1)
    (insert, listing) = (request.decode().split("\r\n") for request in peers.HttpConnection.requests)
    assert (insert[0], insert[2:4], json.loads(insert[-1])) == ("POST /a?b=c HTTP/1.1", ["A: b", "Content-Length: 16"], {"n": 10**9})
    assert (listing[0], listing[2:]) == ("GET /list HTTP/1.1", ["", ""])


@pytest_twisted.ensureDeferred
async def test_an_answer_of_unknown_length_ends_the_run(load):
    factory = peers.Peer(peers.HttpConnection)
    factory.fault = faulty.replace("answer", b"content-length", b"content-longth")
    outcome = await load(factory, proto="http", payload=PAYLOAD)
    assert (outcome.status, outcome.figures) == (NOT_DONE, None)
    assert "without Content-Length" in outcome.said


class StoredHive(faulty.Hive):
    """Answers a subscription, and then sends what it has of that device: numbers as a run before has stored them."""

    devices, stored = 5, 20

    def treat(self, sender, text):
        request = json.loads(text)
        super().treat(sender, text)
        if request["action"] == "subscribe":
            for number in range(self.stored):
                serial = 10**9 + int(request["device"]) + self.devices * number
                self.pass_on("delivery", sender, f'{{"subscriptionId":1,"n":{serial}}}')


REPLAY = {
    "mode": "replay",
    "pubs": 0,
    "subs": 5,
    "devices": 5,
    "replayed": 20,
    "sub-path": "/subscribe",
    "sub-setup": ['{"action":"first","requestId":"1"}', '{"action":"subscribe","requestId":"2","device":"{d}"}'],
    "setup-ok": '"status":"success"',
    "deliver": '"subscriptionId"',
    "patience": LOST_AFTER,
}
REPLAYS = [
    (faulty.none, {}),
    (faulty.drop("delivery"), {"undelivered", "out_of_order"}),
    (faulty.double("delivery"), {"delivered_twice"}),
    (faulty.swap("delivery"), {"undelivered", "out_of_order"}),
    (faulty.replace("delivery", '"n":10', '"n":1'), {"undelivered", "out_of_order", "unknown"}),
    (faulty.replace("delivery", '"n":', '"m":'), {"undelivered", "out_of_order", "unknown"}),
]


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(("fault", "faults"), REPLAYS, ids=range(len(REPLAYS)))
async def test_devices_that_come_back_get_each_stored_message_once_and_in_order(load, fault, faults):
    factory = StoredHive()
    factory.fault = fault
    outcome = await load(factory, **REPLAY)
    assert (outcome.status, set(outcome.faults)) == (LOSS if faults else CLEAN, faults or set()), outcome.said
    if not faults:
        assert outcome.figures["delivered"] == 100 and outcome.figures["deliveries_per_s"] > 0
    else:
        assert outcome.figures["secs"] is None


class MixHive(faulty.Hive):
    """Passes commands on to the connection of their device, and updates to the connection that sent the command."""

    def __init__(self):
        super().__init__()
        self.counts |= {"command": 0, "update": 0}
        self.commands = {}
        self.owner = {}

    def treat(self, sender, text):
        request = json.loads(text)
        if request["action"] == "follow":
            self.owner[request["device"]] = sender
        elif request["action"] == "command":
            number = len(self.commands) + 1
            self.commands[number] = (sender, request["n"])
            event = f'{{"subscriptionId":1,"event":"command","id":{number},"n":{request["n"]}}}'
            self.pass_on("command", self.owner[request["device"]], event)
        elif request["action"] == "update":
            sent_by, serial = self.commands[request["id"]]
            assert self.owner[request["device"]] is sender
            self.pass_on("update", sent_by, f'{{"subscriptionId":null,"event":"update","n":{serial}}}')
        if request["action"] == "insert":
            super().treat(sender, text)
        else:
            self.pass_on("answer", sender, self.reply.format(id=request["requestId"]))


MIX = {
    "sub-path": "/subscribe",
    "setup": '{"action":"follow","requestId":"1","device":"{d}"}',
    "own-devices": True,
    "pubs": 3,
    "subs": 1,
    "devices": 6,
    "to-all": True,
    "flow": "both",
    "deliver": '"subscriptionId"',
    "ack": '"status":"success"',
    "error": '"status":"error"',
    "payload": '{"action":"insert","requestId":"{n}","n":{n}}',
    "command": '{"action":"command","requestId":"{n}","device":"{d}","n":{n}}',
    "command-event": '"event":"command"',
    "update": '{"action":"update","requestId":"u{n}","device":"{d}","id":{i}}',
    "ask": '{"action":"ask","requestId":"{n}"}',
    "command-share": 30,
    "ask-share": 10,
    "patience": LOST_AFTER,
}


@pytest_twisted.ensureDeferred
async def test_a_mix_has_all_its_kinds_of_requests(load):
    factory = MixHive()
    outcome = await load(factory, **MIX)
    assert (outcome.status, outcome.faults) == (CLEAN, {}), outcome.said
    commands = len(factory.commands)
    assert 40 < commands < 80
    # 200 requests and the updates are answered; readings are delivered once, commands and their updates too.
    assert outcome.figures["answered"] == 200 + commands
    readings = outcome.figures["delivered"] - 2 * commands
    assert 100 < readings < 200 - commands
    assert outcome.figures["updates_per_s"] > 0 and 0 < outcome.figures["update_us"]["n"] <= commands
    # Commands are for devices of others as well.
    assert len(factory.owner) == 6


MIXED = [
    (faulty.drop("command"), {"undelivered", "unanswered"}),
    (faulty.drop("update"), {"undelivered"}),
    (faulty.double("update"), {"delivered_twice"}),
    (faulty.replace("update", '"n":1', '"n":7'), {"undelivered", "unknown"}),
    (faulty.replace("command", '"id":', '"no":'), {"undelivered", "unknown"}),
]


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(("fault", "faults"), MIXED, ids=range(len(MIXED)))
async def test_one_wrong_event_of_a_command_is_found(load, fault, faults):
    factory = MixHive()
    factory.fault = fault
    outcome = await load(factory, **MIX)
    assert outcome.status == LOSS
    assert set(outcome.faults) <= faults and outcome.faults, outcome.said


@pytest_twisted.ensureDeferred
async def test_a_command_for_somebody_else_is_found(load):
    factory = MixHive()

    def misdirect(kind, connection, message, count):
        others = [other for other in factory.publishers if other is not connection]
        # The update to the wrong one, since a wrong device could not send one.
        return [(others[0] if (kind, count) == ("update", faulty.AT) else connection, message)]

    factory.fault = misdirect
    outcome = await load(factory, **MIX)
    assert (outcome.status, outcome.faults) == (LOSS, {"undelivered": 1, "unknown": 1})


@pytest_twisted.ensureDeferred
async def test_every_other_connection_is_at_the_second_server(load, reactor):
    first, second = faulty.Hive(), faulty.Hive()
    # They pass messages on to each other, as nodes do.
    second.subscribers = first.subscribers
    port = reactor.listenTCP(0, second, interface="127.0.0.1")
    options = {"pubs": 4, "subs": 3, "flow": "both", "sub-path": "/subscribe", "payload": '{"action":"insert","requestId":"{n}","n":{n}}'}
    processes = {"pid": os.getpid(), "second-pid": os.getpid()}
    outcome = await load(first, **options, **processes, **{"second-port": port.getHost().port})
    await port.stopListening()
    assert (outcome.status, outcome.faults) == (CLEAN, {}), outcome.said
    assert (len(first.publishers), len(second.publishers)) == (2, 2)
    assert outcome.figures["delivered"] == 3 * outcome.figures["sent"]
    assert outcome.figures["second_cpu"] > 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"port": 1, "proto": "http", "subs": 1}, "http has publishers only"),
        ({"port": 1, "proto": "nats", "mode": "idle"}, "modes throughput and rate"),
        ({"port": 1, "proto": "postgres"}, "one --setup"),
        ({"port": 1, "mode": "replay", "pubs": 0, "subs": 1}, "--replayed"),
        ({"port": 1, "command": "{n}"}, "--command needs --update"),
        ({"port": 1, "own-devices": True, "devices": 5, "pubs": 2}, "a multiple of --pubs"),
        ({"socket": "/no/such/socket", "payload": "{n}"}, "/no/such/socket"),
    ],
)
def test_what_makes_no_sense_is_refused(program, options, said):
    outcome = start(program, **options)
    assert (outcome.status, outcome.figures) == (NOT_DONE, None)
    assert said in outcome.said

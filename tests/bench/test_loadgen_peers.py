"""The load generator in the protocols of the peers, and with devices that come back: one wrong message is found out."""

import json

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


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"port": 1, "proto": "http", "subs": 1}, "http has publishers only"),
        ({"port": 1, "proto": "nats", "mode": "idle"}, "modes throughput and rate"),
        ({"port": 1, "proto": "postgres"}, "one --setup"),
        ({"port": 1, "mode": "replay", "pubs": 0, "subs": 1}, "--replayed"),
        ({"socket": "/no/such/socket", "payload": "{n}"}, "/no/such/socket"),
    ],
)
def test_what_makes_no_sense_is_refused(program, options, said):
    outcome = start(program, **options)
    assert (outcome.status, outcome.figures) == (NOT_DONE, None)
    assert said in outcome.said

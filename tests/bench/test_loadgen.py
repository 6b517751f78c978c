"""The load generator: a server that loses, doubles or swaps one message is found out, a good one is not.

No figure is asserted, only that there are some.
"""

import json
import os
import shutil
import subprocess

import pytest
import pytest_twisted
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.protocols.tls import TLSMemoryBIOFactory

from tests.support import faulty_servers as faulty
from tests.support.certificates import write_certificate
from tests.support.loadgen import CLEAN, COMPILER, LOSS, LOST_AFTER, NOT_DONE, SECONDS, SOURCE, needs_compiler, start
from tests.support.servers.process import PASSWORD, Client, ServerProcess

pytestmark = needs_compiler

PAYLOAD = '{"action":"insert","requestId":"{n}","n":{n}}'
DEVICE_PAYLOAD = '{"action":"insert","requestId":"{n}","device":"{d}","n":{n}}'
HIVE = {"sub-path": "/subscribe", "error": '"status":"error"', "ack": '"status":"success"', "payload": PAYLOAD}


def hive(fault=faulty.none):
    factory = faulty.Hive()
    factory.fault = fault
    return factory


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("flow", ["ack", "deliver", "both"])
async def test_a_good_server_is_clean(load, flow):
    outcome = await load(hive(), **HIVE, pubs=3, subs=2, flow=flow)
    assert (outcome.status, outcome.faults) == (CLEAN, {})
    figures = outcome.figures
    assert figures["sent"] == figures["answered"] == 200
    assert figures["delivered"] == 2 * figures["sent"]
    assert figures["acks_per_s"] > 0 and figures["ack_us"]["p99"] > 0 and figures["deliver_us"]["max"] > 0


FAULTS = [
    (faulty.drop("answer"), {"unanswered": 1}),
    (faulty.drop("delivery"), {"undelivered": 1}),
    (faulty.double("answer"), {"answered_twice": 1}),
    (faulty.double("delivery"), {"delivered_twice": 1}),
    (faulty.swap("answer"), {"answers_out_of_order": 1}),
    (faulty.swap("delivery"), {"out_of_order": 1}),
    (faulty.replace("answer", '"success"', '"error"'), {"errors": 1}),
    (faulty.replace("answer", '"requestId":"1', '"requestId":"9'), {"unanswered": 1, "unknown": 1}),
    (faulty.replace("delivery", '"n":1', '"n":9'), {"undelivered": 1, "unknown": 1}),
    (faulty.replace("delivery", '"n":', '"m":'), {"undelivered": 1, "unknown": 1}),
]


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(("fault", "faults"), FAULTS, ids=range(len(FAULTS)))
async def test_one_wrong_message_is_found(load, fault, faults):
    outcome = await load(hive(fault), **HIVE, flow="both", subs=1, patience=LOST_AFTER)
    assert (outcome.status, outcome.faults) == (LOSS, faults)
    assert outcome.figures["acks_per_s"] is None and outcome.figures["ack_us"] is None and outcome.figures["server_cpu"] is None


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(("kind", "faults"), [("answer", {"answered_twice": 1}), ("delivery", {"delivered_twice": 1})])
async def test_what_comes_again_much_later_is_found(load, kind, faults):
    outcome = await load(hive(faulty.double_much_later(kind)), **HIVE, subs=1, flow="both", requests=faulty.MUCH_LATER + 100)
    assert (outcome.status, outcome.faults) == (LOSS, faults)


@pytest_twisted.ensureDeferred
async def test_an_answer_to_somebody_else_is_found(load):
    factory = hive()
    factory.fault = faulty.misdirect("answer", factory)
    outcome = await load(factory, **HIVE, pubs=2, patience=LOST_AFTER)
    assert (outcome.status, outcome.faults) == (LOSS, {"unanswered": 1, "unknown": 1})


@pytest_twisted.ensureDeferred
async def test_a_delivery_to_another_subscriber_is_found(load):
    factory = hive()
    factory.fault = faulty.misdirect("delivery", factory)
    outcome = await load(factory, **HIVE, subs=2, flow="both", patience=LOST_AFTER)
    assert (outcome.status, outcome.faults) == (LOSS, {"undelivered": 1, "delivered_twice": 1})


@pytest_twisted.ensureDeferred
async def test_another_order_may_be_let_pass(load):
    outcome = await load(hive(faulty.swap("answer")), **HIVE | {"any-order": True})
    assert (outcome.status, outcome.faults) == (CLEAN, {"answers_out_of_order": 1})


@pytest_twisted.ensureDeferred
async def test_ids_are_found_wherever_they_stand(load):
    factory = hive()
    factory.reply = '{{ "status" : "success", "n" : {{"requestId": null}}, "requestId" :  {id} }}'
    factory.wrap = '{{"action": "x", "parameters": {{"b": 1, "n" : NUMBER}}}}'
    factory.fault = lambda kind, connection, message, count: [(connection, message.replace("NUMBER", str(1_000_000_000 + count)))]
    outcome = await load(factory, **HIVE, subs=1, flow="both")
    assert (outcome.status, outcome.faults) == (CLEAN, {})


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("length", [100, 126, 65_535, 70_000])
async def test_frames_of_any_length_pieces_and_pings(load, length):
    factory = hive()
    factory.wrap = '{{"filler":"' + "x" * length + '","notification":{request}}}'

    def ping_between(kind, connection, message, count):
        connection.sendPing(b"are you there")
        connection.pieces = count % 2 and length < 1000
        return [(connection, message)]

    factory.fault = ping_between
    outcome = await load(factory, **HIVE, subs=1, flow="both")
    assert (outcome.status, outcome.faults) == (CLEAN, {})


@pytest_twisted.ensureDeferred
async def test_each_subscriber_has_its_device(load):
    options = HIVE | {"payload": DEVICE_PAYLOAD, "sub-setup": "follow {d}", "setup-ok": '"status":"success"'}
    outcome = await load(hive(), **options, devices=5, subs=10, pubs=2, flow="both")
    assert (outcome.status, outcome.faults) == (CLEAN, {})
    assert outcome.figures["delivered"] == 2 * outcome.figures["sent"]


@pytest_twisted.ensureDeferred
async def test_what_another_device_sent_is_found(load):
    outcome = await load(hive(), **HIVE | {"payload": DEVICE_PAYLOAD, "sub-setup": "follow 000001"}, devices=3, subs=3, patience=LOST_AFTER)
    assert outcome.status == LOSS
    assert outcome.faults.keys() == {"undelivered", "unknown"}


@pytest_twisted.ensureDeferred
async def test_subscribers_of_everything_have_all_devices(load):
    options = HIVE | {"payload": DEVICE_PAYLOAD, "to-all": True}
    outcome = await load(hive(), **options, devices=5, subs=3, flow="both")
    assert (outcome.status, outcome.figures["delivered"]) == (CLEAN, 3 * outcome.figures["sent"])


@pytest_twisted.ensureDeferred
async def test_devices_may_come_in_another_order(load):
    options = HIVE | {"payload": DEVICE_PAYLOAD, "sub-setup": "follow {d}", "scatter": True}
    outcome = await load(hive(), **options, devices=5, subs=5, flow="both")
    assert (outcome.status, outcome.faults) == (CLEAN, {})
    assert outcome.figures["delivered"] == outcome.figures["sent"]


@pytest_twisted.ensureDeferred
async def test_slow_readers_are_counted_and_not_missed(load):
    factory = hive()

    def close_one(kind, connection, message, count):
        if count == faulty.AT and kind == "delivery":
            # The last two are the slow ones.
            factory.subscribers.pop().transport.abortConnection()
        return [(connection, message)]

    factory.fault = close_one
    outcome = await load(factory, **HIVE, subs=2, slow=2, flow="both", opening=1)
    assert (outcome.status, outcome.faults, outcome.figures["slow_closed"]) == (CLEAN, {}, 1)
    assert outcome.figures["delivered"] == 2 * outcome.figures["sent"]


@pytest_twisted.ensureDeferred
async def test_readers_have_figures_of_their_own(load):
    readers = {"readers": 2, "reader-window": 3, "reader-payload": '{"action":"info","requestId":"{n}"}'}
    outcome = await load(hive(), **HIVE | readers, subs=1, flow="both")
    assert (outcome.status, outcome.faults) == (CLEAN, {})
    assert outcome.figures["reader_acks_per_s"] > 0
    assert outcome.figures["delivered"] < outcome.figures["sent"]


@pytest_twisted.ensureDeferred
async def test_the_open_loop_sends_by_the_clock(load):
    outcome = await load(hive(), **HIVE, mode="rate", rate=2000, pubs=2, subs=1)
    assert (outcome.status, outcome.faults) == (CLEAN, {})
    assert outcome.figures["late_us"] is not None


@pytest_twisted.ensureDeferred
async def test_idle_connections_are_opened_set_up_and_held(load):
    setup = [f'{{"action":"setup","requestId":"{number}"}}' for number in range(2)]
    outcome = await load(hive(), **HIVE, mode="idle", pubs=3, subs=4, hold=0.1, setup=setup, pid=os.getpid())
    assert (outcome.status, outcome.figures["alive"]) == (CLEAN, 7)
    assert outcome.figures["handshakes_per_s"] > outcome.figures["opens_per_s"] > 0
    assert outcome.figures["rss_after_kb"] > 0


@pytest_twisted.ensureDeferred
async def test_a_server_that_falls_silent_is_a_loss(load):
    factory = hive()
    factory.mute_after = 20
    outcome = await load(factory, **HIVE, patience=LOST_AFTER)
    assert (outcome.status, outcome.faults) == (LOSS, {"unanswered": 4})


@pytest_twisted.ensureDeferred
async def test_a_server_that_closes_is_a_loss(load):
    factory = hive()
    factory.close_after = 20
    outcome = await load(factory, **HIVE, pubs=2, patience=LOST_AFTER)
    assert outcome.status == LOSS
    assert outcome.faults["connections_lost"] == 1


class Mute(ServerFactory):
    protocol = Protocol


@pytest_twisted.ensureDeferred
async def test_a_run_that_cannot_begin_is_not_done(load):
    silent = await load(Mute(), **HIVE)
    assert (silent.status, silent.figures) == (NOT_DONE, None)
    assert "only 0 of 1 connections were opened" in silent.said
    refused = await load(hive(), **HIVE, setup='{"action":"x","requestId":"1"}', **{"setup-ok": "welcome"})
    assert (refused.status, refused.figures) == (NOT_DONE, None)
    assert "setup message 1" in refused.said


def has_openssl():
    """Whether the generator can be built with TLS."""
    command = [*COMPILER, "-E", "-x", "c", "-"]
    source = b"#include <openssl/ssl.h>\n"
    return bool(shutil.which(COMPILER[0])) and not subprocess.run(command, input=source, capture_output=True, check=False).returncode


needs_openssl = pytest.mark.skipif(
    not has_openssl(),
    reason="the headers of OpenSSL are missing (apt install libssl-dev)",
)


@pytest.fixture
def secured(tmp_path):
    """Puts TLS in front of a server."""
    certificate = str(write_certificate(tmp_path / "server.pem"))
    return lambda factory: TLSMemoryBIOFactory(DefaultOpenSSLContextFactory(certificate, certificate), False, factory)


@needs_openssl
@pytest_twisted.ensureDeferred
async def test_a_good_server_with_tls_is_clean(load, secured):
    factory = hive()
    factory.wrap = '{{"filler":"' + "x" * 40_000 + '","notification":{request}}}'
    outcome = await load(secured(factory), **HIVE, tls=True, pubs=3, subs=2, slow=1, flow="both")
    assert (outcome.status, outcome.faults) == (CLEAN, {})
    assert outcome.figures["delivered"] == 2 * outcome.figures["sent"]


@needs_openssl
@pytest_twisted.ensureDeferred
async def test_one_wrong_message_over_tls_is_found(load, secured):
    outcome = await load(secured(hive(faulty.drop("answer"))), **HIVE, tls=True, patience=LOST_AFTER)
    assert (outcome.status, outcome.faults) == (LOSS, {"unanswered": 1})


@needs_openssl
@pytest_twisted.ensureDeferred
async def test_a_server_with_tls_that_closes_is_a_loss(load, secured):
    factory = hive()
    factory.close_after = 20
    outcome = await load(secured(factory), **HIVE, tls=True, pubs=2, patience=LOST_AFTER)
    assert (outcome.status, outcome.faults["connections_lost"]) == (LOSS, 1)


@needs_openssl
@pytest_twisted.ensureDeferred
async def test_mqtt_over_tls(load, secured):
    outcome = await load(secured(faulty.Broker()), proto="mqtt", tls=True, subs=1, flow="both", payload=PAYLOAD)
    assert (outcome.status, outcome.faults) == (CLEAN, {})


@needs_openssl
@pytest_twisted.ensureDeferred
async def test_a_server_without_tls_is_not_done(load):
    outcome = await load(faulty.Echo(), **HIVE, tls=True)
    assert (outcome.status, outcome.figures) == (NOT_DONE, None)


def test_without_the_headers_of_openssl_it_is_built_without_tls(tmp_path):
    subprocess.run(["make", "-s", "-C", SOURCE, f"OUT={tmp_path}", "WITH_TLS=no"], capture_output=True, check=True)
    outcome = start(tmp_path / "loadgen", port=1, tls=True)
    assert (outcome.status, outcome.figures) == (4, None)
    assert "apt install libssl-dev" in outcome.said


def test_the_headers_of_openssl_are_looked_for(tmp_path):
    """The compiler here is one that finds no headers; make says what it would build."""
    nothing = tmp_path / "cc"
    nothing.write_text('#!/bin/sh\ncase "$*" in *openssl*) exit 1 ;; esac\n')
    nothing.chmod(0o755)
    done = subprocess.run(
        ["make", "-n", "-B", "-C", SOURCE, f"OUT={tmp_path}", f"CC={nothing}"], capture_output=True, text=True, check=True
    )
    assert " no_tls.c" in done.stdout
    assert " tls.c" not in done.stdout


BROKEN_BROKERS = [
    (faulty.none, {}),
    (faulty.drop("answer"), {"unanswered": 1}),
    (faulty.double("answer"), {"answered_twice": 1}),
    (faulty.swap("answer"), {"answers_out_of_order": 1}),
    (faulty.drop("delivery"), {"undelivered": 1}),
    (faulty.double("delivery"), {"delivered_twice": 1}),
    (faulty.swap("delivery"), {"out_of_order": 1}),
    (faulty.replace("delivery", b'"n":1', b'"n":7'), {"undelivered": 1, "unknown": 1}),
]


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(("fault", "faults"), BROKEN_BROKERS, ids=range(len(BROKEN_BROKERS)))
async def test_mqtt(load, fault, faults):
    factory = faulty.Broker()
    factory.fault = fault
    outcome = await load(factory, proto="mqtt", subs=1, flow="both", payload=PAYLOAD, patience=LOST_AFTER)
    assert (outcome.status, outcome.faults) == (LOSS if faults else CLEAN, faults)


BROKEN_ECHOES = [
    (faulty.none, {}),
    (faulty.drop("answer"), {"unanswered": 1}),
    (faulty.double("answer"), {"answered_twice": 1}),
    (faulty.swap("answer"), {"answers_out_of_order": 1}),
    (faulty.replace("answer", b'":"1', b'":"5'), {"unanswered": 1, "unknown": 1}),
]


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(("fault", "faults"), BROKEN_ECHOES, ids=range(len(BROKEN_ECHOES)))
async def test_raw_frames(load, fault, faults):
    factory = faulty.Echo()
    factory.fault = fault
    outcome = await load(factory, proto="raw", payload=PAYLOAD + "\n", patience=LOST_AFTER)
    assert (outcome.status, outcome.faults) == (LOSS if faults else CLEAN, faults)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("fault", [faulty.replace("answer", b"insert", b"insect"), faulty.replace("answer", b"\n", b"\n\n")])
async def test_raw_bytes_that_were_not_sent_are_found(load, fault):
    factory = faulty.Echo()
    factory.fault = fault
    outcome = await load(factory, proto="raw", payload=PAYLOAD + "\n", patience=LOST_AFTER)
    assert outcome.status == LOSS
    assert outcome.faults["unknown"] == outcome.faults["connections_lost"] == 1


@pytest.fixture
def server(tmp_path):
    """This project's server, with the devices of the generator's default payload."""
    process = ServerProcess(tmp_path, "--storage", "memory:")
    client = Client(process.url())
    process.token = client.call("token", login="dhadmin", password=PASSWORD)["accessToken"]
    client.call("authenticate", token=process.token)
    for number in range(3):
        client.call("device/save", deviceId=f"device-{number:06}", device={"name": "d", "networkId": 1})
    client.close()
    yield process
    process.kill()


def test_this_server(program, server):
    authenticate = json.dumps({"action": "authenticate", "requestId": 1, "token": server.token})
    subscribe = json.dumps({"action": "notification/subscribe", "requestId": 2, "deviceId": "device-{d}"})
    options = {
        "setup": authenticate,
        "sub-setup": [authenticate, subscribe],
        "setup-ok": '"status":"success"',
        "deliver": '"subscriptionId"',
        "reader-payload": '{"action":"server/info","requestId":{n}}',
    }
    hive = {"port": server.port, "pid": server.process.pid, "path": "/api/websocket"} | HIVE | options
    del hive["payload"], hive["sub-path"]
    outcome = start(program, **hive, pubs=2, subs=6, slow=1, readers=1, devices=3, flow="both", warm=0, requests=300)
    assert (outcome.status, outcome.faults) == (CLEAN, {})
    assert outcome.figures["delivered"] == 600
    assert outcome.figures["server_cpu"] > 0 and outcome.figures["server_rss_kb"] > 0


@pytest.mark.parametrize("options", [{"pubs": 2}, {"pubs": 1, "subs": 3, "flow": "both"}, {"pubs": 2, "proto": "raw"}])
def test_it_measures_itself(program, options):
    outcome = start(program, mode="self", warm=0.05, secs=0.1, **options)
    assert (outcome.status, outcome.faults) == (CLEAN, {})
    assert outcome.figures["messages_per_gen_cpu_s"] > 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"port": 1, "host": "192.0.2.1"}, "only a loopback address"),
        ({"port": 1, "host": "example.org"}, "only a loopback address"),
        ({}, "--port is missing"),
        ({"port": 1, "pubs": "many"}, "a number from 0 to 100000"),
        ({"port": 1, "flow": "up"}, "one of ack|deliver|both"),
        ({"port": 1, "colour": "red"}, "no option --colour"),
        ({"port": 1, "payload": "{}"}, "no {n} in the payload"),
        ({"port": 1, "mode": "rate"}, "needs --rate"),
        ({"port": 1, "proto": "mqtt", "qos": 0}, "nothing is answered"),
        ({"port": 1, "proto": "mqtt", "login": "a"}, "need each other"),
        ({"port": 1, "login": "a", "password": "b"}, "is for mqtt"),
        ({"port": 1, "readers": 1}, "--reader-payload"),
        ({"mode": "self", "tls": True}, "has no TLS"),
    ],
)
def test_what_makes_no_sense_is_refused(program, options, said):
    outcome = start(program, **options)
    assert (outcome.status, outcome.figures) == (NOT_DONE, None)
    assert said in outcome.said


def test_help_names_every_option(program):
    done = subprocess.run([program, "--help"], capture_output=True, text=True, timeout=SECONDS, check=True)
    for name in ("host", "payload", "sub-setup", "reader-window", "slow-bytes", "any-order"):
        assert f"--{name} " in done.stdout

"""MQTT clients of other people, unmodified: paho, zmqtt, MQTT.js, those of Mosquitto, and Mosquitto itself as a bridge."""

import asyncio
import json
import shutil
import subprocess

import paho.mqtt.client as paho
import pytest
import zmqtt

from tests.support.certificates import write_certificate
from tests.support.ports import free_port
from tests.support.servers.mqtt import LOGIN, PahoClient, mqtt_arguments, mqtt_port
from tests.support.servers.process import PASSWORD
from tests.support.waiting import PATIENCE

pytestmark = pytest.mark.slow

PAHO = pytest.mark.parametrize("protocol", [paho.MQTTv31, paho.MQTTv311, paho.MQTTv5], ids=["3.1", "3.1.1", "5.0"])


@pytest.fixture
def server(start, tmp_path):
    """A server with plain topics for everybody."""
    server = start("--storage", "memory:", *mqtt_arguments(tmp_path))
    server.mqtt_port = mqtt_port(server)
    yield server
    assert "Traceback" not in server.log, server.log


# paho


@PAHO
@pytest.mark.parametrize("transport", ["tcp", "websockets"])
def test_paho(server, protocol, transport):
    port = server.mqtt_port if transport == "tcp" else server.port
    with PahoClient(port, "hearer", protocol, transport) as hearer, PahoClient(port, "speaker", protocol, transport) as speaker:
        hearer.subscribe("tele/+/state")
        for qos in range(3):
            speaker.publish("tele/pump/state", b"%d" % qos, qos)
        messages = [hearer.message() for _ in range(3)]
        assert sorted((message.payload, message.qos) for message in messages) == [(b"0", 0), (b"1", 1), (b"2", 2)]
        large = b"x" * 700_000
        speaker.publish("tele/pump/state", large, 2)
        assert hearer.message().payload == large


@PAHO
def test_paho_retained(server, protocol):
    with PahoClient(server.mqtt_port, "speaker", protocol) as speaker:
        speaker.publish("tele/pump/state", b"on", retain=True)
    with PahoClient(server.mqtt_port, "hearer", protocol) as hearer:
        hearer.subscribe("#")
        message = hearer.message()
        assert (message.topic, message.payload, message.retain) == ("tele/pump/state", b"on", True)


@PAHO
def test_paho_will(server, protocol):
    with PahoClient(server.mqtt_port, "hearer", protocol) as hearer:
        hearer.subscribe("gone/#")
        dying = PahoClient(server.mqtt_port, "dying", protocol)
        dying.client.will_set("gone/dying", b"bye", 1)
        dying.connect()
        dying.break_off()
        assert hearer.message().payload == b"bye"


@PAHO
def test_paho_session(server, protocol):
    hearer = PahoClient(server.mqtt_port, "hearer", protocol, clean=False)
    assert not hearer.connect(600).session_present
    hearer.subscribe("a")
    hearer.client.disconnect()
    hearer.end()
    hearer.client.loop_stop()
    with PahoClient(server.mqtt_port, "speaker", protocol) as speaker:
        for number in range(50):
            speaker.publish("a", b"%d" % number, 1 + number % 2)
    flags = hearer.connect(600)
    # MQTT 3.1 cannot say it.
    assert flags.session_present == (protocol != paho.MQTTv31)
    numbers = [int(hearer.message().payload) for _ in range(50)]
    # paho hands a message with QoS 2 over when its PUBREL has come.
    assert [number for number in numbers if number % 2] == list(range(1, 50, 2))
    assert [number for number in numbers if not number % 2] == list(range(0, 50, 2))
    hearer.__exit__()


@PAHO
def test_paho_wrong_password(server, protocol):
    stranger = PahoClient(server.mqtt_port, "stranger", protocol, password="wrong")
    _, reason, _ = stranger.answer()
    assert reason.is_failure
    assert str(reason) in ("Bad user name or password", "Not authorized")
    stranger.client.loop_stop()
    with PahoClient(server.mqtt_port, "friend", protocol) as friend:
        friend.publish("a", b"x")


def test_paho_is_told_that_the_server_stops(server):
    with PahoClient(server.mqtt_port, "hearer") as hearer:
        server.terminate()
        assert str(hearer.end()) == "Server shutting down"


@pytest.mark.parametrize("has_certificate", [True, False])
def test_paho_over_tls_with_client_certificates(start, tmp_path, has_certificate):
    certificate = write_certificate(tmp_path / "server.pem")
    authority = write_certificate(tmp_path / "client.pem")
    more = f'[tls]\ncertificate = "{certificate}"\nclient_authority = "{authority}"\n'
    server = start("--storage", "memory:", *mqtt_arguments(tmp_path, "tls:tcp:0:interface=127.0.0.1", more))
    client = PahoClient(mqtt_port(server), "secure")
    options = {"certfile": str(authority)} if has_certificate else {}
    client.client.tls_set(str(certificate), **options)
    client.client.tls_insecure_set(True)
    if has_certificate:
        client.connect()
        client.subscribe("a")
        client.publish("a", b"x" * 200_000)
        assert len(client.message().payload) == 200_000
        client.__exit__()
    else:
        client.client.connect_timeout = PATIENCE
        with pytest.raises((OSError, AssertionError, TimeoutError)):
            client.client.connect("127.0.0.1", mqtt_port(server))
            # In TLS 1.3 the refusal comes behind the client's part of the handshake.
            while client.client.loop(1) == paho.MQTT_ERR_SUCCESS:
                pass
            raise OSError("refused")
        assert "core.logins" not in server.log
    assert "Traceback" not in server.log, server.log


@PAHO
def test_paho_and_a_device(server, protocol):
    """A device sends a notification, which clients of both protocols hear, and gets a command."""
    websocket = server.connect()
    websocket.call("device/save", deviceId="pump-4", device={"name": "pump 4", "networkId": 1})
    websocket.call("notification/subscribe", deviceId="pump-4")
    with PahoClient(server.mqtt_port, "hearer", protocol) as hearer, PahoClient(server.mqtt_port, "pump", protocol) as pump:
        hearer.subscribe("dh/notification/+/+/pump-4/#")
        pump.subscribe("dh/command/+/+/pump-4/+", 1)
        pump.publish("dh/notification///pump-4/temperature", b'{"celsius": 20.5}', 2)
        event = json.loads(hearer.message().payload)
        assert event["notification"]["parameters"] == {"celsius": 20.5} == websocket.receive()["notification"]["parameters"]
        websocket.call("command/insert", deviceId="pump-4", command={"command": "stop", "parameters": {"now": True}})
        message = pump.message()
        assert (message.topic.split("/")[-2:], message.qos) == (["pump-4", "stop"], 1)
        assert json.loads(message.payload)["command"]["parameters"] == {"now": True}


@PAHO
def test_paho_with_a_token_as_password(server, protocol):
    token = server.connect().call("token", login=LOGIN, password=PASSWORD)["accessToken"]
    with PahoClient(server.mqtt_port, "device", protocol, password=token) as device:
        device.publish("a", b"x")


# zmqtt


@pytest.mark.parametrize("version", ["3.1.1", "5.0"])
def test_zmqtt(server, version):
    async def play():
        options = {"username": LOGIN, "password": PASSWORD, "version": version}
        async with (
            zmqtt.create_client("127.0.0.1", server.mqtt_port, client_id="hearer", **options) as hearer,
            zmqtt.create_client("127.0.0.1", server.mqtt_port, client_id="speaker", **options) as speaker,
        ):
            await speaker.publish("kept", b"retained", qos=zmqtt.QoS.AT_LEAST_ONCE, retain=True)
            async with hearer.subscribe("tele/#", "kept", qos=zmqtt.QoS.EXACTLY_ONCE) as subscription:
                assert (await subscription.get_message()).payload == b"retained"
                for qos in zmqtt.QoS:
                    await speaker.publish("tele/a", str(int(qos)), qos=qos)
                received = [await subscription.get_message() for _ in zmqtt.QoS]
            assert await hearer.ping() >= 0
        return sorted(message.payload for message in received)

    assert asyncio.run(asyncio.wait_for(play(), PATIENCE)) == [b"0", b"1", b"2"]


def test_zmqtt_asks_and_is_answered(server):
    """Response topic and correlation data of MQTT 5.0 pass."""

    async def play():
        options = {"username": LOGIN, "password": PASSWORD, "version": "5.0"}
        async with (
            zmqtt.create_client("127.0.0.1", server.mqtt_port, client_id="asker", **options) as asker,
            zmqtt.create_client("127.0.0.1", server.mqtt_port, client_id="answerer", **options) as answerer,
            answerer.subscribe("ask", qos=zmqtt.QoS.AT_LEAST_ONCE) as questions,
        ):

            async def answer():
                question = await questions.get_message()
                properties = zmqtt.PublishProperties(correlation_data=question.properties.correlation_data)
                await answerer.publish(question.properties.response_topic, question.payload + b"!", properties=properties)

            answering = asyncio.ensure_future(answer())
            reply = await asker.request("ask", b"who", qos=zmqtt.QoS.AT_LEAST_ONCE)
            await answering
            return reply.payload

    assert asyncio.run(asyncio.wait_for(play(), PATIENCE)) == b"who!"


# MQTT.js


@pytest.mark.parametrize("path", ["/mqtt", "/api/mqtt"])
@pytest.mark.parametrize("version", [3, 4, 5])
def test_mqtt_js_over_websocket(server, javascript, version, path):
    options = {"url": server.url(path), "username": LOGIN, "password": PASSWORD, "protocolVersion": version}
    if version == 3:
        options["protocolId"] = "MQIsdp"
    done = subprocess.run(
        ["node", "mqtt.js", json.dumps(options)], cwd=javascript, capture_output=True, text=True, timeout=2 * PATIENCE, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "done"), done.stdout + done.stderr


# Mosquitto

MOSQUITTO = pytest.mark.skipif(
    not ((shutil.which("mosquitto_sub") and shutil.which("mosquitto")) or shutil.which("/usr/sbin/mosquitto")),
    reason="Mosquitto's clients and bridge are not tried: install mosquitto and mosquitto-clients (Debian: the same).",
)


def mosquitto(name, server, *arguments):
    """The command line of one of Mosquitto's clients."""
    return [name, "-h", "127.0.0.1", "-p", str(server.mqtt_port), "-u", LOGIN, "-P", PASSWORD, *arguments]


@pytest.fixture
def spawn():
    """A function that starts a program; what still runs at the end is killed."""
    programs = []

    def start(command, **options):
        programs.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **options))
        return programs[-1]

    yield start
    for program in programs:
        program.kill()
        program.communicate()


@MOSQUITTO
@pytest.mark.parametrize("version", ["mqttv31", "mqttv311", "mqttv5"])
def test_mosquitto_clients(server, spawn, version):
    # Without a terminal it would keep its lines.
    options = ("-V", version, "-q", "2", "-t", "a/#", "-C", "3", "-F", "%q %t %p", "-d")
    hearer = spawn(["stdbuf", "-oL", *mosquitto("mosquitto_sub", server, *options)])
    lines = iter(hearer.stdout)
    for line in lines:
        if "received SUBACK" in line:
            break
    for qos in "012":
        command = mosquitto("mosquitto_pub", server, "-V", version, "-q", qos, "-t", f"a/{qos}", "-m", f"text {qos}")
        subprocess.run(command, check=True, timeout=PATIENCE)
    assert hearer.wait(PATIENCE) == 0
    told = [line.strip() for line in lines]
    assert [f"{qos} a/{qos} text {qos}" in told for qos in range(3)] == [True] * 3, told


@MOSQUITTO
@pytest.mark.parametrize(("version", "words"), [("mqttv311", "bad user name or password"), ("mqttv5", "Bad User Name or Password")])
def test_mosquitto_pub_with_a_wrong_password(server, version, words):
    command = ["mosquitto_pub", "-p", str(server.mqtt_port), "-u", LOGIN, "-P", "wrong", "-V", version, "-t", "a", "-m", "x"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode != 0
    assert words.lower() in done.stderr.lower()


@MOSQUITTO
@pytest.mark.parametrize("version", ["mqttv311", "mqttv50"])
def test_a_mosquitto_bridge_carries_both_ways(server, spawn, tmp_path, version):
    port = free_port()
    configuration = tmp_path / "bridge.conf"
    configuration.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\nconnection hive\naddress 127.0.0.1:{server.mqtt_port}\n"
        f"bridge_protocol_version {version}\nremote_clientid bridge-1\nremote_username {LOGIN}\nremote_password {PASSWORD}\n"
        "topic up/# out 2\ntopic down/# in 2\nrestart_timeout 1\n"
    )
    program = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
    bridge = spawn([program, "-v", "-c", str(configuration)])
    for line in bridge.stdout:
        if "Received SUBACK" in line:
            break
    with PahoClient(server.mqtt_port, "hive") as hive, PahoClient(port, "local", paho.MQTTv311) as local:
        hive.subscribe("up/#")
        local.subscribe("down/#")
        for number in range(20):
            local.publish("up/a", b"up %d" % number, number % 3)
            hive.publish("down/a", b"down %d" % number, number % 3)
        assert sorted(hive.message().payload for _ in range(20)) == sorted(b"up %d" % number for number in range(20))
        assert sorted(local.message().payload for _ in range(20)) == sorted(b"down %d" % number for number in range(20))

"""The load generator: built here from ``bench/loadgen``, run once for each figure."""

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path

from bench.figures import Failed, Lost, Missing
from bench.nats import SUBJECT
from bench.processes import Process, prepare

SOURCE = Path(__file__).parent / "loadgen"
LOSS = 3
"""Its exit status when an answer or a delivery was missing, came twice, or was an error."""

UNSUPPORTED = 4
"""Its exit status when it was built without what a run needs."""

LOSSES = (
    "unanswered",
    "answered_twice",
    "undelivered",
    "delivered_twice",
    "unknown",
    "errors",
    "out_of_order",
    "answers_out_of_order",
    "connections_lost",
)
"""What it counts that must not be."""

GRACE = 90
"""Seconds that a run may take beyond those that it was asked for: connections must be opened, and what is outstanding is waited for."""

PARAMETERS = '{"t":20.5,"p":29.92,"n":{n}}'
PAYLOAD = (
    '{"action":"notification/insert","requestId":"{n}","deviceId":"DEVICE","notification":'
    f'{{"notification":"temperature","parameters":{PARAMETERS}}}}}'
)
"""A request of about 165 bytes: what this server is sent, and what others carry as it is."""


class CannotBuild(Exception):
    """There is no generator; the text says what to install."""


def build(directory):
    """Compile it, and the echo server that it measures itself with.

    :param directory: where to put them.
    :returns: the path of the generator.
    :raises CannotBuild: there is no compiler, or it fails.
    """
    compiler = shlex.split(os.environ.get("CC", "cc"))
    if shutil.which(compiler[0]) is None:
        raise CannotBuild(
            f"{compiler[0]} was not found: the load generator is written in C; install a compiler (apt install gcc libc6-dev)"
        )
    make = shutil.which("make")
    if make is None:
        raise CannotBuild("make was not found: it builds the load generator (apt install make)")
    done = subprocess.run([make, "-s", "-C", SOURCE, f"OUT={directory}"], capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotBuild(f"the load generator cannot be built: {done.stderr}")
    return Path(directory, "loadgen")


class Generator:
    """Runs load, and gives what it measured.

    :param program: its path.
    :param cores: those that it runs on.
    """

    def __init__(self, program, cores):
        self._program = program
        self._cores = cores

    def run(self, server, **options):
        """Do one run.

        :param server: a :class:`~bench.servers.Server`; ``None`` for one without.
        :param options: those of the program, with ``_`` for ``-``; a list gives one several times, ``True`` one without value.
        :returns: what it printed, a dict.
        :raises Lost: anything was lost, came twice or was refused.
        :raises Missing: it was built without what this run needs.
        :raises Failed: the run could not be done.
        """
        command = self._command(server, options)
        seconds = options.get("warm", 1) + options.get("secs", 3) + options.get("hold", 0) + GRACE
        try:
            done = subprocess.run(command, preexec_fn=prepare(self._cores), capture_output=True, text=True, timeout=seconds, check=False)
        except subprocess.TimeoutExpired:
            raise Failed("the load generator did not end in time") from None
        if done.returncode == LOSS:
            raise Lost(describe_loss(done.stdout, done.stderr))
        if done.returncode == UNSUPPORTED:
            raise Missing(_one_line(done.stderr))
        if done.returncode:
            raise Failed(_one_line(done.stderr) or f"the load generator ended with status {done.returncode}")
        return json.loads(done.stdout)

    def start(self, server, directory, **options):
        """Begin a run that only ends when it is told to.

        :param directory: for what it says.
        :returns: a :class:`~bench.processes.Process`.
        """
        return Process(self._command(server, options), directory / "loadgen.log", self._cores)

    def _command(self, server, options):
        if server is not None:
            options = {"port": server.port, "pid": ",".join(map(str, server.pids))} | options
        return [str(self._program), *arguments(options)]


def arguments(options):
    """Write options as the program's arguments."""
    for name, value in options.items():
        for one in value if isinstance(value, list) else [value]:
            yield f"--{name.replace('_', '-')}"
            if one is not True:
                yield str(one)


def describe_loss(output, errors):
    """Say what a run lost.

    :param output: what it printed, one line of JSON.
    :param errors: what it said besides.
    """
    result = json.loads(output)
    named = ", ".join(f"{result[name]} {name.replace('_', ' ')}" for name in LOSSES if result.get(name))
    return "; ".join(filter(None, [named, _one_line(errors)])) or "an unknown loss"


def _one_line(text):
    return " ".join(text.split())[:200]


def hive_load(server, device="d1", subscription=None, **options):
    """Options for load on this server: publishers insert notifications, subscribers get them.

    :param device: whose notifications they are; may have the marks of the program in it.
    :param subscription: members of the request to subscribe, as JSON; ``None``: to the device.
    """
    authenticate = f'{{"action":"authenticate","requestId":"a","token":"{server.token}"}}'
    members = subscription or f'"deviceId":"{device}"'
    return {
        "path": "/api/websocket",
        "setup": authenticate,
        "sub_setup": [authenticate, f'{{"action":"notification/subscribe","requestId":"s",{members}}}'],
        "setup_ok": '"status":"success"',
        "ack": '"status":"success"',
        "error": '"status":"error"',
        "deliver": '"subscriptionId"',
        "payload": PAYLOAD.replace("DEVICE", device),
        "flow": "both",
    } | options


def echo_load(**options):
    """Options for load on a server that sends back what it gets."""
    return {"payload": PAYLOAD.replace("DEVICE", "d1")} | options


def mqtt_load(**options):
    """Options for load on an MQTT broker: each message acknowledged, and delivered with acknowledgement."""
    return {"proto": "mqtt", "qos": 1, "payload": PAYLOAD.replace("DEVICE", "d1"), "flow": "both"} | options


def rest_load(server, **options):
    """Options for requests over HTTP, with the token of a server."""
    headers = [f"Authorization: Bearer {server.token}", "Content-Type: application/json", "Accept: application/json"]
    return {"proto": "http", "header": headers, "flow": "ack"} | options


def nats_load(**options):
    """Options for publishing to JetStream, each message acknowledged."""
    payload = PAYLOAD.replace("DEVICE", "d1")
    return {"proto": "nats", "topic": SUBJECT, "payload": payload, "ack": '"seq":', "error": '"error"', "flow": "ack"} | options

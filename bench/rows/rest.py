"""REST: inserts and lists on connections that stay open, beside bare twisted.web."""

import json
import secrets
import time
import urllib.request

from bench.client import frame, texts
from bench.figures import Lost, Row
from bench.generator import PARAMETERS, rest_load
from bench.plan import Task
from bench.rows.throughput import figures

CALLERS = {"pubs": 32, "window": 1}
"""Clients that ask and wait: nobody pipelines."""

LISTED = 100
DEVICE = "/api/rest/device/d1/notification"
LIST = f"{DEVICE}?take={LISTED}&sortField=timestamp&sortOrder=DESC"
_BODY = '{"notification":"temperature","parameters":PARAMETERS}'
INSERT = {"path": DEVICE, "payload": _BODY.replace("PARAMETERS", PARAMETERS), "ack": '"id":'}


def insert_hive(bench):
    """Inserts into this server, which are read back afterwards: an answer over HTTP has no number by which it could be proved."""
    with bench.hive() as server:
        since = int(time.time() * 1000)
        result = bench.load(server.prepare(), **rest_load(server, **CALLERS, **INSERT))
        prove(server, since, result["answered"])
    return figures(result)


def prove(server, since, count):
    """See that so many inserts are stored, each with a number of its own.

    :param since: when they began, milliseconds since 1970.
    :raises Lost: they are more or fewer.
    """
    last = f"last-{secrets.token_hex(4)}"
    request = {"action": "notification/subscribe", "deviceId": "d1", "names": ["temperature", last], "timestamp": since}
    with server.connect() as client:
        client.call("notification/insert", deviceId="d1", notification={"notification": last})
        events = map(json.loads, texts(client.take(frame(json.dumps(request).encode()), f'"{last}"'.encode(), 1)))
        stored = [event["notification"] for event in events if event.get("notification", {}).get("notification") == "temperature"]
    numbers = {notification["parameters"]["n"] for notification in stored}
    if not len(stored) == len(numbers) == count:
        raise Lost(f"{count} inserts were answered, but {len(stored)} are stored, {len(numbers)} of them different")


def insert_web(bench):
    """The same requests to bare twisted.web."""
    with bench.web(b"") as server:
        return figures(bench.load(server, **rest_load(server, **CALLERS, **INSERT)))


def list_hive(bench):
    """Lists of the newest 100."""
    with bench.hive() as server:
        fill(server.prepare())
        return figures(bench.load(server, **rest_load(server, **CALLERS, **_listing())))


def list_web(bench):
    """The same bytes from bare twisted.web."""
    if "rest list" not in bench.found:
        with bench.hive() as server:
            fill(server.prepare())
            bench.found["rest list"] = _get(server)
    with bench.web(bench.found["rest list"]) as server:
        return figures(bench.load(server, **rest_load(server, **CALLERS, **_listing())))


def _listing():
    # Those of the oldest, which stands last, so the list is whole.
    return {"method": "GET", "path": LIST, "payload": "", "ack": '"n":1000000000'}


def fill(server):
    """Store as many as a list has, and see that it gives exactly these.

    :raises Lost: it gives others.
    """
    request = f'{{"action":"notification/insert","requestId":1,"deviceId":"d1","notification":{_BODY}}}'
    numbers = [1_000_000_000 + number for number in range(LISTED)]
    with server.connect() as client:
        client.call_many(request.replace("PARAMETERS", PARAMETERS).replace("{n}", str(number)).encode() for number in numbers)
    listed = [message["parameters"]["n"] for message in json.loads(_get(server))]
    if listed != numbers[::-1]:
        raise Lost(f"the list of {LISTED} has {len(listed)}, or in another order")


def _get(server):
    request = urllib.request.Request(f"http://127.0.0.1:{server.port}{LIST}", headers={"Authorization": f"Bearer {server.token}"})
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=30) as response:
        return response.read()


TASKS = (
    Task("rest insert", insert_hive, seldom=True),
    Task("rest insert web", insert_web, seldom=True),
    Task("rest list", list_hive, seldom=True),
    Task("rest list web", list_web, seldom=True),
)

ROWS = (
    Row("rest-insert", "REST insert, 32 connections, memory", "inserts", "rest insert", "rest insert web"),
    Row("rest-list", "REST list of 100, 32 connections, memory", "requests", "rest list", "rest list web"),
)

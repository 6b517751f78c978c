"""Too few open files for the clients that come (Access 5)."""

import time

from dhtwisted.transports.capacity import OTHER_FILES
from tests.support.attacks.client import Wire
from tests.support.attacks.measures import cpu_seconds, raise_own_file_limit
from tests.support.servers.process import DEVICEHIVE, Client
from tests.support.waiting import wait_until

FILES = 200
CLIENTS = 400
LIMITED = ("sh", "-c", f'ulimit -n {FILES}; exec "$@"', "sh", *DEVICEHIVE)


def try_to_connect(server):
    """A connection, or nothing."""
    try:
        wire = Wire(server.port, seconds=2)
    except (AssertionError, OSError):
        return None
    if wire.is_open:
        return wire
    wire.close()
    return None


def test_those_beyond_are_refused_and_the_others_do_not_notice(start):
    assert raise_own_file_limit() > 2 * CLIENTS
    server = start("--storage", "file:hive.sqlite", command=LIMITED)
    first = server.connect()
    first.call("device/save", deviceId="pump", device={"name": "Pump", "networkId": 1, "deviceTypeId": 1})
    others = [try_to_connect(server) for _ in range(CLIENTS)]
    served = [wire for wire in others if wire is not None]
    assert FILES / 2 < len(served) < FILES - OTHER_FILES

    used, begun = cpu_seconds(server), time.monotonic()
    for number in range(50):
        first.call("notification/insert", deviceId="pump", notification={"notification": str(number)})
    assert len(first.call("notification/list", deviceId="pump", take=100)["notifications"]) >= 50
    served[0].say(action="server/info", requestId=1)
    assert b"success" in served[0].read_text()
    wait_until(lambda: time.monotonic() - begun > 1, "a second is not over")
    assert cpu_seconds(server) - used < 0.5, "it does not go round and round"
    assert "At most 104 clients are let in" in server.log
    assert server.log.count("\n") < 60, "there is no line for each that was refused"

    for wire in served[50:]:
        wire.close()
    newcomers = []
    wait_until(lambda: newcomers.append(try_to_connect(server)) or newcomers[-1], "nobody is let in any more")
    Client(server.url()).log_in()
    assert server.terminate() == 0

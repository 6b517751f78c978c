"""An import holds every object to the rules of the API."""

import io
import json

import pytest

from dhtwisted.errors import TransferError
from dhtwisted.testing.server import MemoryServer, at_once
from dhtwisted.transfer.checking import Checker
from dhtwisted.transfer.stream import Reader
from tests.support.moving import RECORD, TIME

HEADER = {"format": "dhtwisted export", "version": 5, "program": "1", "time": TIME}
HASH = "A" * 43 + "="
ADDRESSED = {"device_id": "pump", "network_id": 1, "device_type_id": 1, "timestamp": 1}

GOOD = {
    "network": {"name": "home", "id": 1},
    "devicetype": {"name": "pump", "id": 1},
    "device": {"id": "pump", "name": "pump", "network_id": 1, "device_type_id": 1},
    "configuration": {"name": "colour", "value": "red", "id": 1},
    "devicetoken": {"device_id": "pump", "user_id": 1, "created": 1, "expires": 2, "id": 1},
    "mqttsession": {"id": "0 pump", "user_id": 0, "client_id": "pump", "created": 1},
    "retainedmessage": {"topic": "a/b", "payload": "AP8=", "qos": 1, "published": 1},
    "queuedmessage": {"id": "0 pump 0000000000000001", "session": "0 pump", "number": 1, "topic": "a/b", "qos": 1},
    "receivedpacket": {"id": "0 pump 0000000000000001", "session": "0 pump", "packet_id": 1},
    "command": {"name": "on", "id": 1, "last_updated": 1} | ADDRESSED,
    "notification": {"name": "wet", "id": 1} | ADDRESSED,
    "user": {"login": "anna", "password": RECORD, "id": 1},
}


def export(*items):
    """An export of some objects: pairs of a kind and its members."""
    counts = {kind: sum(each == kind for each, _ in items) for kind, _ in items}
    lines = [HEADER, *({kind: members} for kind, members in items), {"end": counts}]
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def read(*items, any_password=False):
    return [entry.item for entry in Reader(io.BytesIO(export(*items)), Checker(any_password).check)]


def refusal(*items):
    with pytest.raises(TransferError) as caught:
        read(*items)
    return str(caught.value)


def test_what_is_good_passes():
    assert len(read(*GOOD.items())) == len(GOOD)


@pytest.mark.parametrize(
    ("kind", "members", "words"),
    [
        ("user", {"login": "an"}, "user.login must have 3 to 128 characters"),
        ("user", {"login": "anna smith"}, "user.login must have only ASCII letters"),
        ("user", {"login": " anna"}, "login has spaces around it"),
        ("user", {"role": 7}, "user.role must be 0 (administrator) or 1 (client)"),
        ("user", {"status": 9}, "user.status must be 0 (active), 1 (locked out) or 2 (disabled)"),
        ("user", {"password": "secret"}, "password is neither $scrypt$"),
        (
            "user",
            {"password": f"$scrypt$20$16$16$c2FsdA==${HASH}"},
            "password has a cost that is invalid, or higher than that of auth.password_cost 20",
        ),
        ("user", {"password": f"$scrypt$20$1$1$c2FsdA==${HASH}"}, "password has a cost that is invalid"),
        ("user", {"password": f"$scrypt$0$8$1$c2FsdA==${HASH}"}, "password has a cost that is invalid"),
        ("user", {"password": f"$scrypt$1_0$8$1$c2FsdA==${HASH}"}, "password has a cost that is not a number"),
        ("user", {"password": "$scrypt$15$8$1$c2FsdA==$AAAA"}, "password has a hash of 3 bytes"),
        ("user", {"password": f"$scrypt$15$8$1$?${HASH}"}, "password has a salt or a hash that is not base64"),
        ("user", {"password": "$devicehive$salt$AAAA"}, "password has a hash of 3 bytes"),
        ("user", {"password": "$" * 2000}, "password has more than 1024 characters"),
        ("user", {"known_addresses": [["192.0.2.1", 1]] * 17}, "known_addresses must be at most 16 addresses"),
        ("user", {"known_addresses": [["2001:db8::1", 1]]}, "known_addresses must be at most 16 addresses"),
        ("user", {"known_addresses": [["here", 1]]}, "known_addresses must be at most 16 addresses"),
        ("user", {"network_ids": [0]}, "network_ids"),
        ("network", {"name": ""}, "network.name must have 1 to 128 characters"),
        ("network", {"description": "x" * 129}, "network.description must have 0 to 128 characters"),
        ("devicetype", {"name": "x\0"}, "deviceType.name must have at most 256 characters, and no NUL"),
        ("device", {"id": "pump 1"}, "deviceId must be 1 to 48 ASCII letters"),
        ("device", {"name": ""}, "device.name must have 1 to 128 characters"),
        ("device", {"network_id": 0}, "network_id"),
        ("configuration", {"name": "jwt.secret"}, "Access is denied"),
        ("configuration", {"name": "x" * 33}, "name must have 1 to 32 characters"),
        ("configuration", {"value": ""}, "value must have 1 to 128 characters"),
        ("mqttsession", {"id": "1 pump"}, "id must be '0 pump'"),
        ("mqttsession", {"id": "0 " + 1025 * "a", "client_id": 1025 * "a"}, "client_id must have 1 to 1024 bytes"),
        ("retainedmessage", {"topic": ""}, "topic must have 1 to 1024 bytes"),
        ("retainedmessage", {"qos": 3}, "qos must be 0, 1 or 2"),
        ("queuedmessage", {"number": 2}, "id must be '0 pump 0000000000000002'"),
        ("queuedmessage", {"qos": 3}, "qos must be 0, 1 or 2"),
        ("receivedpacket", {"session": "1 pump"}, "id must be '1 pump 0000000000000001'"),
        ("devicetoken", {"label": ""}, "payload.label must have 1 to 128 characters"),
        ("devicetoken", {"device_id": ""}, "deviceId must be"),
        ("command", {"name": ""}, "name is missing or empty"),
        ("command", {"status": "x" * 257}, "status must have at most 256 characters"),
        ("command", {"lifetime": 2**63}, "lifetime"),
        ("command", {"user_id": -1}, "user_id"),
        ("notification", {"name": "x" * 257}, "name must have at most 256 characters"),
        ("notification", {"device_id": "x" * 49}, "deviceId must be"),
        ("notification", {"network_id": 2**70}, "network_id"),
    ],
)
def test_what_no_client_could_store_is_refused_with_its_line(kind, members, words):
    line = refusal((kind, GOOD[kind] | members))
    assert line.startswith("line 2")
    assert words in line
    assert "\n" not in line


def test_logins_that_differ_in_case_alone_are_refused():
    users = [("user", GOOD["user"] | {"login": login, "id": number}) for number, login in enumerate(("anna", "berta", "ANNA"), 1)]
    assert refusal(*users) == ("line 4: user 3: the login differs only in case from that of line 2: change one of them, and export again")
    networks = [("network", {"name": "home", "id": number}) for number in (1, 2)]
    assert "line 3: network 2: the name is that of line 2" in refusal(*networks)


def test_records_of_a_provider_of_somebody_else_are_its_own():
    user = ("user", GOOD["user"] | {"password": "{LDAP}"})
    assert read(user, any_password=True)[0].password == "{LDAP}"
    assert "password is neither" in refusal(user)
    assert read(("user", GOOD["user"] | {"password": ""}))[0].password == "", "who cannot log in by password"


def test_a_first_start_makes_what_can_be_moved(reactor):
    server = at_once(MemoryServer.open(reactor, hash_password=False))
    from tests.support.moving import exported

    data = at_once(exported(server.storage))
    assert [entry.item.KIND for entry in Reader(io.BytesIO(data), Checker().check)] == ["network", "devicetype", "user"]
    at_once(server.close())

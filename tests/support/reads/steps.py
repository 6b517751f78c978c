"""What clients send, and what happens meanwhile, as hypothesis strategies."""

from typing import Any

from hypothesis import strategies as st

from dhtwisted.testing.server import START
from tests.support.raw import BINARY, CLOSE, PING, PONG
from tests.support.reads.committing import UNSTORABLE

NOW = int(START * 1000)
MOST = 16
"""Frames that the server takes from one connection in one turn. With more, others have their turn in between."""

CLIENTS: list[tuple[str, list[dict[str, Any]]]] = [
    ("anna", []),
    ("admin", [{"action": "command/subscribe", "returnUpdatedCommands": True}]),
    (
        "anna",
        [
            {"action": "notification/subscribe", "names": ["on", "ü"]},
            {"action": "notification/subscribe", "deviceId": "d1"},
            {"action": "command/subscribe", "networkIds": [1]},
            {"action": "command/subscribe", "returnUpdatedCommands": True, "names": ["on"]},
        ],
    ),
    (
        "anna",
        [
            {"action": "notification/subscribe", "deviceIds": ["d1", "d3"]},
            {"action": "command/subscribe", "deviceId": "d1"},
            {"action": "command/subscribe", "deviceId": "d1", "returnUpdatedCommands": True},
        ],
    ),
    ("berta", [{"action": "notification/subscribe"}, {"action": "command/subscribe"}]),
    ("admin", [{"action": "notification/subscribe"}, {"action": "notification/subscribe", "names": ["$device-add", "on"]}]),
    ("device", [{"action": "command/subscribe"}]),
    ("", []),
]
"""Whose token each client uses, and what it asks for first. The fourth and the seventh have events of what they insert themselves."""

numbers = st.integers(0, len(CLIENTS) - 1)


def opening() -> list[tuple[Any, ...]]:
    """The steps with which every play begins."""
    steps: list[tuple[Any, ...]] = []
    for number, (token, requests) in enumerate(CLIENTS):
        first = [{"action": "authenticate", "token": token, "requestId": 0}] if token else []
        steps += [("connect",), ("send", number, first + requests, []), ("turn",)]
    return steps


# Members

request_ids = st.one_of(st.integers(1, 3), st.sampled_from(["r", "", None, 1.5, {"a": [1]}, "ü", 10**30]))
devices = st.sampled_from(["d1", "d1", "d1", "d1", "d1", "d2", "d3", "d3", "shut", "gone", "new", "d\0", "", None, 5, ["d1"]])
names = st.sampled_from(["on", "on", "on", "on", "off", "ü", "", "x" * 300, "a\0b", "$device-add", "$device-update", None, 7, {"a": 1}])
statuses = st.sampled_from([None, "half", "done", "", "x" * 300, "a\0b", 3, [1]])
values: st.SearchStrategy[Any] = st.one_of(
    st.sampled_from([None, 1, 0.5, "text", "\0", "\U0001f680", {"a": None, "b": [1, {"c": ""}]}, [], UNSTORABLE.decode()]),
    st.sampled_from(["y" * 3000, "z" * 70_000]),
)
usual_values = st.sampled_from([None, 1, {"c": 21.5}, "text", "y" * 3000])
times = st.sampled_from(
    [None, None, None, "", 0, NOW - 5000, NOW - 5000, NOW + 30_000, NOW + 61_000, "2026-01-02T03:04:05.678", "when", 10**19]
)
command_ids = st.one_of(st.integers(1, 6), st.integers(1, 40), st.sampled_from([None, 10**6, 2**70, "2", "x"]))
tokens = st.sampled_from(["anna", "berta", "carla", "admin", "mute", "narrow", "expired", "forged", "refresh", "device", "", 5])


def members(**optional: Any) -> st.SearchStrategy[dict[str, Any]]:
    """An object with some of these members."""
    return st.fixed_dictionaries({}, optional=optional)


def request(action: str, **optional: Any) -> st.SearchStrategy[dict[str, Any]]:
    """A request with some of these members, or all."""
    usual = st.fixed_dictionaries(optional)
    return st.builds(
        lambda given, request_id: {"action": action, "requestId": request_id} | given,
        usual | members(**optional),
        request_ids,
    )


def good(action: str, **required: Any) -> st.SearchStrategy[dict[str, Any]]:
    """A request with all of these members."""
    return st.builds(
        lambda given, number: {"action": action, "requestId": number} | given, st.fixed_dictionaries(required), st.integers(1, 99)
    )


good_devices = st.sampled_from(["d1", "d1", "d1", "d1", "d1", "d3", "d3", "d3", "d2"])
good_names = st.sampled_from(["on", "off", "ü"])
good_times = st.sampled_from([None, None, NOW - 5000, NOW + 30_000, NOW + 61_000])
good_notification = good(
    "notification/insert",
    deviceId=good_devices,
    notification=st.fixed_dictionaries({"notification": good_names, "parameters": usual_values, "timestamp": good_times}),
)
good_command = good(
    "command/insert",
    deviceId=good_devices,
    command=st.fixed_dictionaries({"command": good_names, "parameters": usual_values, "timestamp": good_times}),
)
good_update = good(
    "command/update",
    deviceId=good_devices,
    commandId=st.sampled_from([1, 1, 1, 2, 2, 3, 4, 5, 6, 9]),
    command=st.fixed_dictionaries({"status": st.sampled_from(["half", "done"])}, optional={"result": usual_values}),
)
odd_insert = st.one_of(
    request(
        "notification/insert",
        deviceId=devices,
        notification=st.one_of(members(notification=names, parameters=values, timestamp=times), st.sampled_from([None, 5, "on"])),
    ),
    request(
        "command/insert",
        deviceId=devices,
        command=st.one_of(
            members(command=names, parameters=values, timestamp=times, lifetime=st.integers(-1, 99), status=statuses, result=values),
            st.sampled_from([None, 5]),
        ),
    ),
    request("command/update", deviceId=devices, commandId=command_ids, command=members(status=statuses, result=values)),
    request("command/update", deviceId=devices, commandId=command_ids),
)
own_token = st.builds(lambda fields, token: fields | {"token": token}, st.one_of(good_notification, good_command, good_update), tokens)
subscription_ids = st.integers(0, 25).map(lambda number: NOW * 1000 + number)
reads = st.one_of(
    request("notification/list", deviceId=devices, start=times, names=st.lists(good_names, max_size=2), take=st.integers(0, 9)),
    request("command/list", deviceId=devices, end=times, sortOrder=st.sampled_from(["ASC", "DESC", "up"]), skip=st.integers(0, 3)),
    request("command/get", deviceId=devices, commandId=command_ids),
    request("notification/get", deviceId=devices, notificationId=command_ids),
    request("subscription/list"),
    request("server/info"),
    request("device/list"),
    request("device/get", deviceId=devices),
)
subscriptions = st.one_of(
    request("notification/subscribe", deviceId=devices, names=st.lists(good_names, max_size=2)),
    good("notification/subscribe", deviceId=good_devices, timestamp=st.sampled_from([0, NOW - 5000, NOW])),
    good("command/subscribe", timestamp=st.just(0), returnUpdatedCommands=st.booleans(), limit=st.integers(0, 3)),
    request("command/subscribe", networkIds=st.sampled_from([[1], [2], [9], []]), returnUpdatedCommands=st.booleans()),
    request("notification/unsubscribe", subscriptionId=subscription_ids),
    request("command/unsubscribe", subscriptionId=subscription_ids),
)
identities = st.one_of(
    request("authenticate", token=tokens),
    good("authenticate", token=st.sampled_from(["anna", "berta", "admin", "device", "mute"])),
)
changes = st.one_of(
    good(
        "device/save", deviceId=st.sampled_from(["d1", "d3", "new"]), device=members(networkId=st.integers(1, 2), isBlocked=st.booleans())
    ),
    good("device/delete", deviceId=st.sampled_from(["d1", "d3", "new"])),
    good("user/update", userId=st.integers(2, 4), user=members(status=st.integers(0, 2), role=st.integers(0, 1))),
    good("user/unassignNetwork", userId=st.integers(2, 3), networkId=st.integers(1, 2)),
    good("user/assignNetwork", userId=st.integers(2, 4), networkId=st.integers(1, 2)),
    good("network/delete", networkId=st.integers(1, 2), force=st.booleans()),
    good("token/revoke", tokenId=st.sampled_from([7, 8])),
)
unreadable = st.sampled_from(
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"action":"notification/insert","requestId":1e999}',
        b'{"action":"nothing","requestId":4}',
        b'{"action":"notification/insert","deviceId":"d1","notification":{"notification":"\\ud800"},"requestId":2}',
        b'{"action":"notification/insert","deviceId":"d1","notification":{"notification":"on","parameters":'
        + b"[" * 200
        + b"]" * 200
        + b"}}",
        b'{"action":"notification/insert","deviceId":"d1","deviceId":"d3","notification":{"notification":"on","notification":"off"}}',
        b' { "action" : "notification/insert" , "deviceId" : "d1" , "notification" : { "notification" : "on" , "parameters" : [ 1 ] } } ',
    ]
)
inserts = st.one_of(good_notification, good_notification, good_command, good_update)
texts = st.one_of(
    inserts, inserts, inserts, inserts, odd_insert, odd_insert, own_token, reads, subscriptions, identities, changes, unreadable
)
pings = st.sampled_from([(b"p", {"opcode": PING}), (b"", {"opcode": PONG}), (b"p", {"opcode": PING, "masked": False})])
violations = st.sampled_from(
    [
        (b"on", {"opcode": BINARY}),
        (b"\xff", {}),
        (b"\x03\xe8", {"opcode": CLOSE}),
        (b"{}", {"masked": False}),
        (b"{", {"fin": False}),
        (b" " * 200_000, {}),
    ]
)
places = st.lists(st.integers(0, 10**6), max_size=6)


def sent(
    client: st.SearchStrategy[int], texts: st.SearchStrategy[Any], least: int = 1, most: int = MOST
) -> st.SearchStrategy[tuple[Any, ...]]:
    """What one client sends without a pause."""
    return st.tuples(st.just("send"), client, st.lists(texts, min_size=least, max_size=most), places)


inserting = st.sampled_from([0, 3, 1, 6])
runs = st.one_of(
    sent(numbers, texts),
    sent(inserting, texts, 4),
    sent(inserting, inserts, 6),
    sent(inserting, inserts, 6),
    sent(inserting, good_notification, 8),
    sent(inserting, good_notification, 8),
    sent(st.just(3), st.one_of(good_command, good_update), 6),
    sent(st.sampled_from([1, 5]), st.one_of(inserts, inserts, inserts, inserts, changes), 6),
)
several = st.lists(runs, min_size=1, max_size=3).map(lambda sent: [*sent, ("turn",)])
long = st.builds(lambda run: [run, ("turn",)], sent(numbers | inserting, texts, MOST, 40))
controls = st.builds(lambda run: [run, ("turn",)], sent(numbers, texts | pings))
ends = st.builds(
    lambda run, last, after: [(*run[:2], [*run[2], last, *after], run[3]), ("turn",)],
    sent(inserting, texts, 1, 6),
    violations,
    st.lists(inserts, max_size=3),
)
unread = st.builds(
    lambda client, room, run: [("room", client, room), run, ("turn",), ("room", client, None), ("turn",)],
    numbers,
    st.integers(0, 5000),
    sent(inserting, texts),
)
alone = st.builds(lambda run: [run, ("turn",), ("seconds", 20)], runs)
time = st.sampled_from([1, 9, 12]).map(lambda seconds: [("seconds", seconds)])
losses = st.tuples(st.sampled_from(["lose", "lose", "stop"]), numbers).map(lambda step: [step])
held = st.builds(lambda turns: [("hold", True), *turns, ("hold", False), ("turn",)], several | time | losses)
failing = st.builds(lambda turns: [("fail", True), *turns, ("fail", False)], several)


def joined(*parts: st.SearchStrategy[list[Any]], most: int = 6) -> st.SearchStrategy[list[Any]]:
    """Steps one after the other."""
    return st.lists(st.one_of(*parts), min_size=2, max_size=most).map(lambda found: [step for part in found for step in part])


def without_replays(steps: list[Any]) -> list[Any]:
    """The same steps, but no subscription begins with stored messages. Where they are read from a disk, other things happen meanwhile."""
    return [(*step[:2], [_live(text) for text in step[2]], step[3]) if step[0] == "send" else step for step in steps]


def _live(text: Any) -> Any:
    is_subscribe = isinstance(text, dict) and text["action"].endswith("/subscribe")
    return {name: value for name, value in text.items() if name != "timestamp"} if is_subscribe else text

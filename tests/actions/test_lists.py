"""No list is unbounded: over WebSocket each is cut and says so, over REST each is whole and comes in portions."""

from __future__ import annotations

import json
from typing import get_args, get_origin

import msgspec
import pytest
import pytest_twisted

from dhtwisted.actions import ACTIONS, REST_ONLY, lists
from dhtwisted.actions.lists import Elements, Given, each
from dhtwisted.errors import AccessDenied, ServiceUnavailable, Unauthorized
from dhtwisted.fronts.rest.api import RestApi
from dhtwisted.fronts.rest.caller import Call, Caller
from dhtwisted.model import Device, DeviceToken, DeviceType, Network, User
from dhtwisted.testing.server import START
from tests.support import rest_api

MANY, LONG = 40, "x" * 100
LIST_BYTES = 2000
NOW = int(START * 1000)

LISTS = {
    "device/list": ({"networkId": 1}, ["devices"], "/device?networkId=1"),
    "network/list": ({}, ["networks"], "/network"),
    "network/get": ({"networkId": 1}, ["network", "devices"], "/network/1"),
    "devicetype/list": ({}, ["deviceTypes"], "/devicetype"),
    "devicetype/get": ({"deviceTypeId": 1}, ["deviceType", "devices"], "/devicetype/1"),
    "user/list": ({}, ["users"], "/user"),
    "user/get": ({"userId": 2}, ["user", "networks"], "/user/2"),
    "user/getCurrent": ({}, ["current", "networks"], "/user/current"),
    "user/getDeviceTypes": ({"userId": 2}, ["deviceTypes"], "/user/2/devicetype"),
    "token/list": ({}, ["tokens"], "/token"),
    "command/list": ({"deviceId": "d10", "sortOrder": "ASC"}, ["commands"], "/device/d10/command?sortOrder=ASC"),
    "notification/list": ({"deviceId": "d10", "sortOrder": "ASC"}, ["notifications"], "/device/d10/notification?sortOrder=ASC"),
    "subscription/list": ({}, ["subscriptions"], None),
    "command/poll": (None, ["commands"], "/device/d10/command/poll?timestamp=0&waitTimeout=0"),
    "notification/poll": (None, ["notifications"], "/device/d10/notification/poll?timestamp=0&waitTimeout=0"),
}
"""Every action whose reply has a list: a request, the path of members to the list, and the same over REST. The lists have 40 elements."""

each_list = pytest.mark.parametrize("name", [name for name, (request, _, _) in LISTS.items() if request is not None])
each_path = pytest.mark.parametrize("name", [name for name, (_, _, path) in LISTS.items() if path is not None])
WITHOUT_SKIP = {"network/get": "device/list", "devicetype/get": "device/list", "user/get": None, "user/getCurrent": None}
"""Where the rest is: the list that goes on with ``skip`` instead; of a user's networks REST has all."""


def has_list(kind):
    """Whether a declared type has a list anywhere in it."""
    if get_origin(kind) is list:
        return True
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return any(has_list(field.type) for field in msgspec.structs.fields(kind))
    return any(has_list(part) for part in get_args(kind))


def test_no_list_is_forgotten():
    """A new action whose reply has a list has to be put here, and the tests below to show that it has bounds."""
    found = {action.name for action in (*ACTIONS.values(), *REST_ONLY.values()) if has_list(action.reply)}
    assert found == LISTS.keys()


async def fill(memory):
    """Forty of everything, so that every list of :data:`LISTS` has so many."""
    entities, server = memory.server.entities, memory.server
    await entities.update(Network, 1, {"description": LONG})
    await entities.update(DeviceType, 1, {"description": LONG})
    for number in range(1, MANY):
        await entities.insert(Network(name=f"n{number}", description=LONG))
        await entities.insert(DeviceType(name=f"t{number}", description=LONG))
    everything = frozenset(range(1, MANY + 1))
    for number in range(1, MANY):
        types = {"all_device_types_available": False, "device_type_ids": everything}
        await memory.add_user(f"user{number}", network_ids=everything, data=f'"{LONG}"'.encode(), **types)
    await entities.update(User, 1, {"network_ids": everything, "data": f'"{LONG}"'.encode()})
    for number in range(MANY):
        data = f'"{LONG}"'.encode()
        await entities.insert(Device(id=f"d{10 + number}", name="same", network_id=1, device_type_id=1, data=data))
        await entities.insert(DeviceToken(id=number + 1, device_id="d10", user_id=1, created=NOW, expires=NOW + 10**9, label=LONG))
    client = await memory.client()
    for number in range(MANY):
        for kind in ("command", "notification"):
            message = {kind: str(number), "parameters": LONG, "timestamp": NOW}
            await client.call(f"{kind}/insert", deviceId="d10", **{kind: message})
        await client.call("command/subscribe", deviceId="d10", names=[LONG])
    server.clock = memory.clock
    return client


@pytest_twisted.async_yield_fixture
async def filled(open_server):
    memory = await open_server(limits={"list_bytes": LIST_BYTES})
    yield memory, await fill(memory)


def listed(reply, path):
    """The list in a reply, and whether it was cut."""
    *around, member = path
    for name in around:
        reply = reply[name]
    return reply[member], reply.get("more", False)


@each_list
@pytest_twisted.ensureDeferred
async def test_a_list_is_cut_at_its_bytes_and_says_so(filled, name):
    client, (request, path, _) = filled[1], LISTS[name]
    reply = await client.call(name, **request)
    found, more = listed(reply, path)
    assert more is True
    assert 2 <= len(found) < MANY
    size = len(json.dumps(found, separators=(",", ":")))
    assert size <= LIST_BYTES < size + 400, "it is as full as it may be, and no fuller"
    assert str(reply).count("'more'") == 1


@each_list
@pytest_twisted.ensureDeferred
async def test_the_rest_comes_by_skip(filled, name):
    client, (request, path, _) = filled[1], LISTS[name]
    found, more = listed(await client.call(name, **request), path)
    if name in WITHOUT_SKIP:
        name, path = WITHOUT_SKIP[name], ["devices"]
        if name is None:
            return
    while more:
        part, more = listed(await client.call(name, skip=len(found), **request), path)
        assert part
        found += part
    identities = [each.get("id", each.get("subscriptionId")) for each in found]
    assert len(set(identities)) == len(identities) == MANY


@each_list
@pytest_twisted.ensureDeferred
async def test_a_list_is_cut_at_its_length(open_server, name):
    memory = await open_server(limits={"list_size": 5, "list_bytes": 0})
    client, (request, path, _) = await fill(memory), LISTS[name]
    found, more = listed(await client.call(name, **request), path)
    assert (len(found), more) == (5, True)
    if name not in WITHOUT_SKIP:
        assert listed(await client.call(name, take=MANY, skip=MANY - 5, **request), path)[1] is False
        found, more = listed(await client.call(name, take=3, **request), path)
        assert (len(found), more) == (3, False), "a client that asks for few gets few, and is told nothing new"


@each_list
@pytest_twisted.ensureDeferred
async def test_a_list_has_one_element_at_least(open_server, name):
    memory = await open_server(limits={"list_bytes": 1})
    client, (request, path, _) = await fill(memory), LISTS[name]
    found, more = listed(await client.call(name, **request), path)
    assert (len(found), more) == (1, True)


@each_list
@pytest_twisted.ensureDeferred
async def test_a_list_that_fits_is_as_it_was(open_server, name):
    memory = await open_server()
    client, (request, path, _) = await fill(memory), LISTS[name]
    reply = await client.call(name, **request)
    assert (len(listed(reply, path)[0]), "more" in str(reply)) == (MANY, False)


@pytest.fixture
def small_portions(monkeypatch):
    monkeypatch.setattr(lists, "PORTION", 1000)
    monkeypatch.setattr(lists, "PAGE_SIZE", 500)
    monkeypatch.setattr("dhtwisted.actions.poll.PAGE_SIZE", 500)


async def body_of(memory, path, method="GET"):
    """The body of an answer over REST as it is handed to the transport."""
    path, _, query = path.partition("?")
    query = {name: [value] for name, value in (pair.split("=") for pair in query.split("&") if pair)}
    answers = []
    caller = Caller("192.0.2.1", "ws://hive.example/api/websocket")
    call = Call(method, path.strip("/").split("/"), query, b"", None, f"Bearer {memory.token()}", caller)
    RestApi(memory.server).handle(call, lambda *answer: answers.append(answer))
    memory.clock.advance(0)
    while not answers:
        memory.clock.advance(0.1)
    assert answers[0][0] == 200
    return answers[0][1]


@each_path
@pytest_twisted.ensureDeferred
async def test_over_rest_a_list_is_whole_and_comes_in_portions(filled, small_portions, name):
    _, members, path = LISTS[name]
    body = await body_of(filled[0], path)
    portions = [portion async for portion in body]
    assert len(portions) > 3
    assert all(portion for portion in portions)
    assert max(map(len, portions)) <= 1000 + 300
    whole = json.loads(b"".join(portions))
    found = whole[members[-1]] if isinstance(whole, dict) else whole
    assert [isinstance(whole, dict), len(found), "more" in whole] == [len(members) > 1, MANY, False]
    assert len({each["id"] for each in found}) == MANY


@each_path
@pytest_twisted.ensureDeferred
async def test_a_list_of_one_portion_is_one_piece(filled, name):
    body = await body_of(filled[0], LISTS[name][2])
    assert isinstance(body, bytes), "then it has a length, which the firmware needs"
    json.loads(body)


@pytest.mark.parametrize("order", ["", "&sortField=name", "&sortField=name&sortOrder=DESC", "&sortOrder=DESC"])
@pytest_twisted.ensureDeferred
async def test_what_comes_and_goes_between_portions_moves_nobody_else(filled, small_portions, order):
    memory, _ = filled
    entities = memory.server.entities
    expected = {f"d{10 + number}" for number in range(MANY)}
    found, text = [], b""
    async for portion in await body_of(memory, f"/device?networkId=1{order}"):
        text += portion
        found = json.loads(text.rstrip(b"]") + b"]")
        middle = found[len(found) // 2]["id"]
        await entities.delete(Device, middle)
        expected.discard(middle)
        for place in ("a", "z"):
            await entities.insert(Device(id=f"{place}{len(found)}", name=f"{place}ame", network_id=1, device_type_id=1))
    ids = [each["id"] for each in found]
    assert len(set(ids)) == len(ids)
    assert expected <= set(ids)


@pytest_twisted.ensureDeferred
async def test_a_list_ends_when_the_right_to_it_ends(filled, small_portions):
    memory, _ = filled
    body = await body_of(memory, "/device?networkId=1")
    await anext(body)
    await memory.server.entities.update(User, 1, {"status": 2})
    with pytest.raises(Unauthorized):
        _ = [portion async for portion in body]


@pytest_twisted.ensureDeferred
async def test_messages_end_when_the_right_to_their_device_ends(filled, small_portions):
    memory, _ = filled
    body = await body_of(memory, "/device/d10/notification")
    await anext(body)
    await memory.server.entities.update(User, 1, {"role": 1, "network_ids": frozenset({2})})
    with pytest.raises(AccessDenied):
        _ = [portion async for portion in body]


@pytest_twisted.ensureDeferred
async def test_a_device_that_the_caller_may_no_longer_use_comes_no_more(filled, small_portions):
    memory, _ = filled
    body = await body_of(memory, "/device?networkId=1")
    first = await anext(body)
    await memory.server.entities.update(User, 1, {"role": 1, "network_ids": frozenset({2})})
    rest = [portion async for portion in body]
    assert len(json.loads(b"".join([first, *rest]))) < MANY // 2, "no more than was read before"


@pytest_twisted.ensureDeferred
async def test_a_storage_that_goes_away_ends_a_list_with_an_error(filled, small_portions, monkeypatch):
    memory, _ = filled
    body = await body_of(memory, "/device?networkId=1")
    await memory.storage.close()
    with pytest.raises(ServiceUnavailable):
        _ = [portion async for portion in body]


@pytest_twisted.ensureDeferred
async def test_a_trace_shows_the_first_portion(open_server, small_portions):
    memory = await open_server(log={"trace": ("user:1",)})
    await fill(memory)
    assert b"".join([portion async for portion in await body_of(memory, "/network/1")]).startswith(b'{"id":1,')


@pytest.mark.parametrize("take", [0, 1, 7, MANY])
@pytest_twisted.ensureDeferred
async def test_take_over_rest(filled, small_portions, take):
    admin = rest_api.client(filled[0])
    found = await admin.get(f"/device?networkId=1&take={take}&skip=2")
    assert [each["id"] for each in found] == [f"d{10 + number}" for number in range(2, min(2 + take, MANY))]


@pytest_twisted.ensureDeferred
async def test_take_over_rest_is_at_most_the_longest_list(open_server):
    memory = await open_server(limits={"list_size": 5})
    await fill(memory)
    admin = rest_api.client(memory)
    assert len(await admin.get("/device?take=30")) == 5
    assert len(await admin.get("/device")) == MANY


@pytest_twisted.ensureDeferred
async def test_devices_of_a_type(filled):
    memory, client = filled
    await memory.server.entities.insert(Device(id="other", name="other", network_id=2, device_type_id=2))
    anna = await memory.add_user("anna", network_ids=frozenset({2}), all_device_types_available=False, device_type_ids=frozenset({2}))
    admin, restricted = rest_api.client(memory), await memory.client(anna)
    for request, expected in (({"deviceTypeId": 2}, ["other"]), ({"deviceTypeId": 2, "networkId": 1}, []), ({"deviceTypeId": 7}, [])):
        assert [each["id"] for each in (await client.call("device/list", **request))["devices"]] == expected
        assert (await client.call("device/count", **request))["count"] == len(expected)
        query = "&".join(f"{name}={value}" for name, value in request.items())
        assert [each["id"] for each in await admin.get(f"/device?{query}")] == expected
    assert (await restricted.call("device/list", deviceTypeId=1))["devices"] == []
    assert [each["id"] for each in (await restricted.call("device/list", deviceTypeId=2))["devices"]] == ["other"]


@pytest.mark.parametrize("members", [{"take": -1}, {"skip": -1}])
@pytest.mark.parametrize("name", ["subscription/list", "token/list", "user/getDeviceTypes"])
@pytest_twisted.ensureDeferred
async def test_a_page_below_nothing_is_refused(filled, name, members):
    assert (await filled[1].refused(name, **LISTS[name][0] | members))[0] == 400


class _Watched:
    """A storage that says how many bytes of devices it handed out at once."""

    def __init__(self, storage):
        self._storage = storage
        self.most = 0

    def __getattr__(self, name):
        return getattr(self._storage, name)

    async def find(self, kind, query):
        found = await self._storage.find(kind, query)
        self.most = max(self.most, sum(len(each.data or b"") for each in found if kind is Device))
        return found


@pytest_twisted.async_yield_fixture
async def open_any(request, reactor, tmp_path):
    from dhtwisted.providers.memory import MemoryStorage
    from dhtwisted.providers.sqlite.storage import FileStorage

    opened = []

    async def open_one(kind):
        if kind == "postgres":
            return await request.getfixturevalue("open_storage")()
        opened.append(MemoryStorage(reactor) if kind == "memory" else FileStorage(str(tmp_path / "data.sqlite"), reactor))
        await opened[-1].open()
        return opened[-1]

    yield open_one
    for storage in opened:
        await storage.close()


@pytest.mark.slow
@pytest.mark.lowest
@pytest.mark.parametrize("kind", ["memory", "file", "postgres"])
@pytest_twisted.ensureDeferred
async def test_no_storage_hands_out_a_whole_list(open_server, open_any, kind):
    storage = _Watched(await open_any(kind))
    memory = await open_server(storage=storage, limits={"list_bytes": 1_000_000}, clock=None, real_time=True)
    for number in range(30):
        data = b'"%b"' % (b"x" * 299_000)
        await memory.server.entities.insert(Device(id=f"d{number:02}", name=str(number), network_id=1, device_type_id=1, data=data))
    client = await memory.client()
    for request, path, rest in (LISTS["device/list"], LISTS["network/get"]):
        name = "device/list" if len(path) == 1 else "network/get"
        storage.most = 0
        found, more = listed(await client.call(name, **request), path)
        assert ([each["id"] for each in found], more) == (["d00", "d01", "d02"], True)
        assert storage.most <= lists.PAGE_SIZE + 300_000
        whole = await rest_api.client(memory).get(rest)
        assert [each["id"] for each in (whole if isinstance(whole, list) else whole["devices"])] == [f"d{n:02}" for n in range(30)]
        assert storage.most <= lists.PAGE_SIZE + 300_000


TOTAL = 10_000_000
"""``limits.output_total`` of the tests below."""


class Crowded:
    """A server of which somebody else fills the memory while the first page of a list is read.

    :ivar asked: of each page that was asked for: behind what, and what was counted for the list.
    """

    def __init__(self, memory, monkeypatch):
        self.memory, self.asked = memory, []
        self.budget = memory.server.budget
        self.other = self.budget.account(lambda reason: None)
        plain = memory.server.entities.find

        async def find(kind, query):
            if kind is not Device:
                return await plain(kind, query)
            self.asked.append((query.after, self.budget.total - self.other.held))
            if len(self.asked) == 1:
                self.other.add(TOTAL)
            return await plain(kind, query)

        monkeypatch.setattr(memory.server.entities, "find", find)

    def make_room(self):
        self.other.remove(TOTAL)
        for _ in range(3):
            self.memory.clock.advance(0)


@pytest_twisted.async_yield_fixture
async def crowded(open_server, monkeypatch):
    memory = await open_server(limits={"list_bytes": 2_000_000, "output_total": TOTAL})
    for number in range(10):
        data = b'"%b"' % (b"x" * 299_000)
        await memory.server.entities.insert(Device(id=f"d{number}", name=str(number), network_id=1, device_type_id=1, data=data))
    client = await memory.client()
    yield Crowded(memory, monkeypatch), client


@pytest_twisted.ensureDeferred
async def test_a_list_that_waits_for_memory_holds_none(crowded):
    crowded, client = crowded
    reply = client.arrival()
    client.send_text(json.dumps({"action": "device/list"}))
    (first,) = crowded.asked
    assert (first[1], crowded.budget.total) == (lists.PAGE_SIZE, TOTAL)
    crowded.make_room()
    found, more = listed(await reply, ["devices"])
    assert ([each["id"] for each in found], more) == ([f"d{number}" for number in range(6)], True)
    assert crowded.asked[1] == (first[0], lists.PAGE_SIZE + 2_000_000), "what it has read before is not kept"
    assert {size for _, size in crowded.asked[1:]} == {lists.PAGE_SIZE + 2_000_000}
    assert crowded.budget.total == 0


@pytest_twisted.ensureDeferred
async def test_nothing_counts_for_a_list_whose_client_has_gone(crowded):
    crowded, client = crowded
    client.send_text(json.dumps({"action": "device/list"}))
    client.close()
    crowded.make_room()
    assert len(crowded.asked) > 1, "it was finished"
    assert crowded.budget.total == 0


@pytest_twisted.ensureDeferred
async def test_elements_are_read_no_earlier_than_they_are_asked_for():
    asked = []

    class Counted(Given):
        async def read(self):
            asked.append(1)
            return await super().read()

    elements = Elements(Counted(range(100)), each(str))
    found, more = await elements.read(12)
    assert (list(map(bytes, found)), more, len(asked)) == ([b'"0"', b'"1"', b'"2"'], True, 4)
    found, more = await elements.read(10**9, 2)
    assert (list(map(bytes, found)), more) == ([b'"3"', b'"4"'], True)
    found, more = await elements.read(10**9)
    assert (len(found), more) == (95, False)

"""Logins by password: who is held up, who is not, and what is kept of where users come from."""

from itertools import count

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.task import deferLater
from twisted.logger import formatEvent, globalLogPublisher

from dhtwisted.core.logins import DAY, KNOWN_FOR, MOST_KNOWN
from dhtwisted.kit.password_records import Cost
from dhtwisted.logs.audit import Audit
from dhtwisted.logs.masking import digest
from dhtwisted.model import DISABLED, User
from dhtwisted.providers.jwt.passwords import make_record
from dhtwisted.testing.server import PASSWORD
from tests.support.rest_api import RestClient

HOME, AWAY = "198.51.100.7", "203.0.113.9"
SECONDS = 0.001


async def log_in(server, address, login="dhadmin", password=PASSWORD):
    """Ask for a token from an address; returns the code of the answer, 200 for a token."""
    client = server.connect()
    client.address = address
    reply = await client.request("token", login=login, password=password)
    client.close()
    return reply.get("code", 200)


async def guess(server, address, times, login="dhadmin"):
    """Guess one after the other; returns the codes."""
    return [await log_in(server, address, login, "wrong") for _ in range(times)]


def known(server, user_id=1):
    """The addresses of a user."""
    return [address for address, _ in server.server.entities.user(user_id).known_addresses]


@pytest_twisted.async_yield_fixture
async def guessed(open_server):
    """A server whose administrator has come in from home, and at whose login strangers guess until its count is used up."""
    server = await open_server(hash_password=True, limits={"logins_per_minute": 6})
    assert await log_in(server, HOME) == 200
    for number in range(3):
        assert await guess(server, f"192.0.2.{number}", 2) == [401, 401]
    yield server


@pytest_twisted.ensureDeferred
async def test_strangers_do_not_lock_an_owner_out(guessed):
    assert await guess(guessed, "192.0.2.4", 1) == [429], "strangers are held up"
    assert await log_in(guessed, AWAY) == 429, "whoever has the right password too"
    assert await log_in(guessed, HOME) == 200
    guessed.clock.advance(KNOWN_FOR * SECONDS - 60)
    for number in range(3):
        await guess(guessed, f"192.0.2.{number}", 2)
    assert await log_in(guessed, HOME) == 200, "thirty days later"


@pytest_twisted.ensureDeferred
async def test_guesses_from_many_addresses_do_not_take_all_the_hashes(open_server):
    server, ended = await open_server(hash_password=True), []
    assert await log_in(server, HOME) == 200

    async def come(who, address, login, password):
        ended.append((who, await log_in(server, address, login, password)))

    comers = [("stranger", f"2001:db8:0:{number:x}::1", f"guess-{number}", "wrong") for number in range(60)]
    comers += [("owner", HOME, "dhadmin", PASSWORD), ("new", AWAY, "dhadmin", PASSWORD)]
    await DeferredList([Deferred.fromCoroutine(come(*comer)) for comer in comers])
    assert sorted(set(ended)) == [("new", 200), ("owner", 200), ("stranger", 401)]
    assert ended.index(("owner", 200)) < 10, "they have a turn of their own"


@pytest_twisted.ensureDeferred
async def test_an_address_is_forgotten_after_thirty_days(open_server):
    server = await open_server(hash_password=True, limits={"logins_per_minute": 2})
    for address, pause in ((HOME, KNOWN_FOR * SECONDS), (AWAY, 0)):
        assert await log_in(server, address) == 200
        server.clock.advance(pause)
    await guess(server, "192.0.2.1", 2)
    assert await log_in(server, HOME) == 429
    assert await log_in(server, AWAY) == 200


@pytest_twisted.ensureDeferred
async def test_the_owner_is_held_up_at_home_only_by_failures_from_there(guessed):
    assert await guess(guessed, HOME, 7) == [401] * 6 + [429]
    assert await log_in(guessed, HOME) == 429
    guessed.clock.advance(60)
    assert await log_in(guessed, HOME) == 200


@pytest_twisted.ensureDeferred
async def test_who_has_never_come_in_has_a_try_from_each_address(open_server):
    """As a user of an older release, of whom no addresses are kept."""
    server = await open_server(hash_password=True, limits={"logins_per_minute": 2})
    await guess(server, "192.0.2.1", 2)
    assert await guess(server, "192.0.2.2", 2) == [401, 429]
    assert await log_in(server, HOME) == 200
    assert await log_in(server, HOME) == 200
    assert await guess(server, "192.0.2.3", 1) == [429], "from now on it is known who comes from where"


@pytest_twisted.ensureDeferred
async def test_of_many_first_tries_at_once_one_is_let_through(open_server, monkeypatch, reactor):
    server = await open_server(hash_password=True, limits={"logins_per_minute": 5})
    await guess(server, "192.0.2.1", 5)
    find = server.server.entities.find

    async def find_later(kind, query):
        await deferLater(reactor, 0)
        return await find(kind, query)

    monkeypatch.setattr(server.server.entities, "find", find_later)
    tries = DeferredList([Deferred.fromCoroutine(guess(server, AWAY, 1)) for _ in range(5)])
    assert sorted(codes[0] for _, codes in await tries) == [401, 429, 429, 429, 429]


@pytest_twisted.ensureDeferred
async def test_unknown_logins_are_answered_as_users_are(open_server):
    server = await open_server(hash_password=True, limits={"logins_per_minute": 1})
    for number in range(40):
        await guess(server, f"192.0.2.{number}", 1, f"nobody{number}")
    answers = {await log_in(server, f"203.0.113.{number}", f"nobody{number}") for number in range(40)}
    assert answers == {401, 429}, "some as users who have come in, some as those who have not"


@pytest_twisted.ensureDeferred
async def test_many_at_once_are_let_through_no_more_than_one_by_one(open_server):
    server = await open_server(hash_password=True)
    tries = DeferredList([Deferred.fromCoroutine(guess(server, AWAY, 1)) for _ in range(200)])
    codes = [codes[0] for _, codes in await tries]
    assert (codes.count(401), codes.count(429)) == (30, 170)


@pytest_twisted.ensureDeferred
async def test_right_passwords_use_nothing_up(open_server):
    server = await open_server(hash_password=True, limits={"logins_per_minute": 2})
    for _ in range(5):
        tries = DeferredList([Deferred.fromCoroutine(log_in(server, HOME)) for _ in range(2)])
        assert [code for _, code in await tries] == [200, 200]


@pytest_twisted.ensureDeferred
async def test_who_only_waits_for_others_is_to_come_back_soon(open_server):
    server = await open_server(hash_password=True, limits={"logins_per_minute": 1})
    first = Deferred.fromCoroutine(log_in(server, HOME))
    client = server.connect()
    client.address = HOME
    reply = await client.request("token", login="dhadmin", password=PASSWORD)
    assert (reply["code"], reply["retryAfter"]) == (429, 1)
    assert await first == 200


@pytest_twisted.ensureDeferred
async def test_both_fronts_count_the_same(guessed):
    rest = RestClient(guessed)
    status, _ = await rest.send("POST", "/token", {"login": "dhadmin", "password": PASSWORD})
    assert status == 429


@pytest.mark.parametrize("login", ["DHADMIN", "\uff24\uff28admin"])
@pytest_twisted.ensureDeferred
async def test_another_form_of_a_login_is_the_same_login(guessed, login):
    assert await guess(guessed, "192.0.2.4", 1, login) == [429]
    assert await log_in(guessed, HOME, login) == 200


@pytest_twisted.ensureDeferred
async def test_the_whole_network_of_an_ipv6_client_is_one_address(guessed):
    assert await log_in(guessed, "2001:db8::1") == 429
    guessed.clock.advance(60)
    assert await log_in(guessed, "2001:db8::1") == 200
    assert known(guessed) == [HOME, "2001:db8::/64"]
    assert await guess(guessed, "2001:db8:0:1::1", 4) + await guess(guessed, "2001:db8:0:1:ffff::2", 3) == [401] * 6 + [429]
    assert await log_in(guessed, "2001:db8::abcd") == 200


@pytest_twisted.ensureDeferred
async def test_an_address_is_written_once_a_day_and_with_nothing_else(open_server, monkeypatch):
    server = await open_server(hash_password=True)
    writes = []
    update = server.storage.update

    async def counted(kind, key, changes):
        writes.append(set(changes))
        return await update(kind, key, changes)

    monkeypatch.setattr(server.storage, "update", counted)
    for pause in (2, DAY * SECONDS - 3, 2):
        await log_in(server, HOME)
        server.clock.advance(pause)
    await log_in(server, HOME)
    assert writes == [{"last_login", "known_addresses"}, {"last_login"}, {"last_login"}, {"last_login", "known_addresses"}]


@pytest_twisted.ensureDeferred
async def test_the_address_that_is_longest_unused_goes(open_server):
    server = await open_server(hash_password=True)
    for number in range(MOST_KNOWN + 3):
        await log_in(server, f"198.51.100.{number}")
        server.clock.advance(DAY * SECONDS / 8)
    assert known(server) == [f"198.51.100.{number}" for number in range(3, MOST_KNOWN + 3)]


@pytest_twisted.ensureDeferred
async def test_devices_from_ever_more_addresses_write_no_more_often_than_the_last_login(open_server, monkeypatch):
    server = await open_server(hash_password=True)
    writes = count()
    update = server.storage.update

    async def counted(kind, key, changes):
        next(writes)
        return await update(kind, key, changes)

    for number in range(MOST_KNOWN):
        await log_in(server, f"198.51.100.{number}")
    monkeypatch.setattr(server.storage, "update", counted)
    for number in range(40):
        await log_in(server, f"203.0.113.{number}")
    assert next(writes) == 0


@pytest_twisted.ensureDeferred
async def test_tokens_make_no_address_known(open_server):
    server = await open_server(hash_password=True)
    reply = await server.connect().call("token", login="dhadmin", password=PASSWORD)
    stranger = server.connect()
    stranger.address = AWAY
    server.clock.advance(2)
    await stranger.call("token/refresh", refreshToken=reply["refreshToken"])
    await stranger.call("authenticate", token=reply["accessToken"])
    assert AWAY not in known(server)


@pytest_twisted.ensureDeferred
async def test_of_logins_at_once_each_address_is_kept(open_server):
    server = await open_server(hash_password=True)
    addresses = [f"198.51.100.{number}" for number in range(8)]
    assert [code for _, code in await DeferredList([Deferred.fromCoroutine(log_in(server, address)) for address in addresses])] == [200] * 8
    assert sorted(known(server)) == addresses


@pytest.fixture
def lines():
    """Lines of the log."""
    events = []
    globalLogPublisher.addObserver(events.append)
    yield lambda: [formatEvent(event) for event in events]
    globalLogPublisher.removeObserver(events.append)


@pytest.mark.parametrize("distinct", [False, True])
@pytest_twisted.ensureDeferred
async def test_what_is_no_login_may_be_a_password_and_is_nowhere_in_clear(open_server, lines, audit_lines, distinct):
    settings = {"log": {"trace": ("address:203.0.113.9",)}, "compatibility": {"distinct_login_errors": distinct}}
    server = await open_server(hash_password=True, limits={"logins_per_minute": 3}, **settings)
    server.server.audit = Audit(audit_lines, server.clock.seconds)
    typed = "Tr0ub4dor"
    assert await guess(server, AWAY, 5, typed) == [401] * 3 + [429] * 2
    client = server.connect()
    client.address = AWAY
    assert (await client.refused("token", login=typed))[0] == 400
    assert (await client.refused("token", login=typed, password="x", token="no token"))[0] == 401
    assert typed not in str(lines()) + str(audit_lines.records)
    assert f"a login failed: {digest(typed)!r}" in lines()
    assert {record["login"] for record in audit_lines.records} == {digest(typed)}


@pytest_twisted.ensureDeferred
async def test_a_user_has_one_name_in_the_audit_log_also_when_refused(open_server, audit_lines):
    server = await open_server(hash_password=True, limits={"logins_per_minute": 2})
    server.server.audit = Audit(audit_lines, server.clock.seconds)
    assert await guess(server, AWAY, 3, "DHAdmin") == [401, 401, 429]
    assert [(record["code"], record["login"]) for record in audit_lines.records] == [(401, "dhadmin")] * 2 + [(429, "dhadmin")]


@pytest_twisted.ensureDeferred
async def test_names_of_users_are_kept_in_a_bounded_number(open_server, audit_lines, monkeypatch):
    monkeypatch.setattr("dhtwisted.core.logins.MAX_KEYS", 1)
    server = await open_server(hash_password=True, limits={"logins_per_minute": 2})
    server.server.audit = Audit(audit_lines, server.clock.seconds)
    await server.server.entities.insert(User(login="anna", login_key="anna", password="", role=1))
    assert await guess(server, AWAY, 1) + await guess(server, AWAY, 1, "anna") == [401, 401]
    assert await guess(server, AWAY, 1) + await guess(server, AWAY, 1, "anna") == [429, 429]
    assert [record["login"] for record in audit_lines.records] == ["dhadmin", "anna", digest("dhadmin"), "anna"]


@pytest_twisted.ensureDeferred
async def test_the_login_of_a_user_is_in_the_log(open_server, lines):
    server = await open_server(hash_password=True)
    await guess(server, AWAY, 1)
    assert "a login failed: 'dhadmin'" in lines()


# The time of a check: what is computed, not how long it takes.


@pytest.fixture
def computed(monkeypatch):
    """The costs of the hashes that were computed."""
    costs = []

    def scrypt(secret, salt, cost, length):
        costs.append(cost)
        return bytes(length)

    monkeypatch.setattr("dhtwisted.providers.jwt.passwords._scrypt", scrypt)
    return costs


@pytest_twisted.ensureDeferred
async def test_every_login_computes_the_same(open_server, computed):
    server = await open_server(hash_password=True, auth={"password_cost": 12})
    users = {
        "new": "$scrypt$12$8$1$c2FsdA==$" + "B" * 43 + "=",
        "older": "$scrypt$10$8$1$c2FsdA==$" + "B" * 43 + "=",
        "dearer": "$scrypt$14$8$1$c2FsdA==$" + "B" * 43 + "=",
        "imported": "$devicehive$salt$" + "B" * 43 + "=",
        "odd": "no record",
        "empty": "",
    }
    for login, record in users.items():
        await server.server.entities.insert(User(login=login, password=record))
    await server.server.entities.insert(User(login="disabled", password=users["older"], status=DISABLED))
    for login in (*users, "disabled", "nobody"):
        del computed[:]
        assert await log_in(server, f"192.0.2.{len(login)}", login, "wrong") == 401
        assert computed == [Cost(10), Cost(12), Cost(14)], login


@pytest_twisted.ensureDeferred
async def test_a_record_of_another_cost_is_made_anew_at_a_good_login(open_server):
    server = await open_server(hash_password=True, auth={"password_cost": 11})
    user = await server.server.entities.insert(User(login="anna", password=make_record("secret-1", 10)))
    assert await log_in(server, HOME, "anna", "secret-1") == 200
    assert (await server.storage.get(User, user.id)).password.startswith("$scrypt$11$8$1$")


@pytest.mark.parametrize(
    "record",
    [
        "$scrypt$20$16$16$c2FsdA==$" + "B" * 43 + "=",
        "$scrypt$20$1$1$c2FsdA==$" + "B" * 43 + "=",
        "$scrypt$10$8$1$c2FsdA==$AAAA",
        "$scrypt$10$8$1$c2FsdA==",
        "$argon2id$v=19$m=65536$c2FsdA==$AAAA",
        "secret",
    ],
)
@pytest_twisted.ensureDeferred
async def test_a_record_that_cannot_be_checked_is_a_failed_login_and_a_line(open_server, lines, record):
    server = await open_server(hash_password=True)
    await server.server.entities.insert(User(login="anna", password=record))
    assert await log_in(server, HOME, "anna", "secret") == 401
    (line,) = [line for line in lines() if "record" in line]
    assert "nobody can log in with it" in line
    assert record not in line

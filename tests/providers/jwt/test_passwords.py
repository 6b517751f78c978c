"""Passwords: records, other schemes, bounds."""

import base64
import hashlib
from threading import Event

import pytest
import pytest_twisted
from twisted.internet.defer import Deferred, DeferredList

from dhtwisted.errors import BadRequest, ServiceUnavailable, TooManyRequests
from dhtwisted.kit.current_client import run_for_client
from dhtwisted.providers.jwt.passwords import QUEUE_BOUND, PasswordHasher

COST = 10


@pytest.fixture
def hasher(reactor):
    hasher = PasswordHasher(reactor, COST)
    yield hasher
    pytest_twisted.blockon(Deferred.fromCoroutine(hasher.close()))


def imported(password, salt="c2FsdHNhbHRzYWx0c2FsdHNh"):
    """Make a record as a DeviceHive server's user table has it."""
    digest = hashlib.sha256((salt + password).encode()).digest()
    return f"$devicehive${salt}${base64.b64encode(digest).decode()}"


@pytest.mark.parametrize("password", ["secret", "", "pässwörd", "e\u0301", "a" * 5000, "nul\0nul", "🔑"])
@pytest_twisted.ensureDeferred
async def test_the_right_password_fits_and_another_does_not(hasher, password):
    record = await hasher.hash(password)
    assert record.startswith(f"$scrypt${COST}$8$1$")
    assert await hasher.verify(password, record)
    assert not await hasher.verify(password + "x", record)


@pytest_twisted.ensureDeferred
async def test_two_records_of_one_password_differ(hasher):
    assert await hasher.hash("secret") != await hasher.hash("secret")


@pytest_twisted.ensureDeferred
async def test_bytes_are_kept_as_given(hasher):
    assert not await hasher.verify("\u00e9", await hasher.hash("e\u0301"))


@pytest_twisted.ensureDeferred
async def test_a_known_scrypt_result(hasher):
    """The third test vector of RFC 7914: its parameters are read from the record, not taken from ours."""
    digest = bytes.fromhex(
        "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887"
    )
    record = f"$scrypt$14$8$1${base64.b64encode(b'SodiumChloride').decode()}${base64.b64encode(digest).decode()}"
    assert await hasher.verify("pleaseletmein", record)
    assert not await hasher.verify("pleaseletmeout", record)


@pytest_twisted.ensureDeferred
async def test_records_of_a_devicehive_server_fit(hasher):
    assert await hasher.verify("dhadmin_#911", imported("dhadmin_#911"))
    assert not await hasher.verify("dhadmin_#912", imported("dhadmin_#911"))


@pytest_twisted.ensureDeferred
async def test_what_needs_an_upgrade(hasher, reactor):
    assert not hasher.needs_upgrade(await hasher.hash("secret"))
    assert hasher.needs_upgrade(imported("secret"))
    assert PasswordHasher(reactor, COST + 1).needs_upgrade(await hasher.hash("secret"))


@pytest.mark.parametrize(
    "record",
    [
        None,
        "",
        "secret",
        "$",
        "$$",
        "$scrypt$",
        "$scrypt$10$8$1$?$?",
        "$scrypt$99$8$1$AAAA$AAAA",
        "$scrypt$10$99999$1$AAAA$AAAA",
        "$scrypt$10$8$1$AAAA$",
        "$devicehive$",
        "$devicehive$salt$\xff",
        "$md5$x$y",
    ],
)
@pytest_twisted.ensureDeferred
async def test_no_password_fits_a_record_that_cannot_be_read(hasher, record):
    assert not await hasher.verify("", record)
    assert not await hasher.verify("secret", record)


@pytest_twisted.ensureDeferred
async def test_a_lone_surrogate_is_refused(hasher):
    with pytest.raises(BadRequest):
        await hasher.hash("\ud800")
    assert not await hasher.verify("\ud800", await hasher.hash("?"))
    assert not await hasher.verify("\ud800", imported("?"))


@pytest_twisted.ensureDeferred
async def test_too_many_at_once_are_told_to_come_back(hasher):
    jobs = [Deferred.fromCoroutine(hasher.hash("secret")) for _ in range(QUEUE_BOUND)]
    with pytest.raises(TooManyRequests):
        await hasher.hash("secret")
    assert all(success for success, _ in await DeferredList(jobs))
    assert await hasher.hash("secret")


@pytest_twisted.ensureDeferred
async def test_who_has_many_passwords_checked_waits_behind_themselves(hasher):
    done = []

    async def check(client):
        await hasher.hash("secret")
        done.append(client)

    jobs = [run_for_client(client, Deferred.fromCoroutine, check(client)) for client in ["anna"] * QUEUE_BOUND + ["berta"]]
    outcomes = await DeferredList(jobs, consumeErrors=True)
    assert done.index("berta") < 8, "after what was begun before, and not after all of it"
    assert [success for success, _ in outcomes] == [True] * (QUEUE_BOUND - 1) + [False, True], "and room is made for them"


@pytest_twisted.ensureDeferred
async def test_what_waits_for_long_is_told_to_come_back(reactor, monkeypatch):
    release = Event()
    monkeypatch.setattr("dhtwisted.providers.jwt.passwords._scrypt", lambda *_: release.wait(20) and b"")
    monkeypatch.setattr("dhtwisted.providers.jwt.passwords.PATIENCE", 0.05)
    hasher = PasswordHasher(reactor, COST)
    jobs = [Deferred.fromCoroutine(hasher.hash("secret")) for _ in range(2)]
    with pytest.raises(TooManyRequests):
        await hasher.hash("secret")
    release.set()
    assert all(success for success, _ in await DeferredList(jobs))
    await hasher.close()


@pytest_twisted.ensureDeferred
async def test_closing_drops_what_waits(reactor):
    hasher = PasswordHasher(reactor, COST)
    jobs = [Deferred.fromCoroutine(hasher.hash("secret")) for _ in range(QUEUE_BOUND)]
    outcome = DeferredList(jobs, consumeErrors=True)
    await hasher.close()
    refused = [result for success, result in await outcome if not success]
    assert refused, "with 64 jobs for two threads some must still have waited"
    assert all(failure.check(ServiceUnavailable) for failure in refused)
    with pytest.raises(ServiceUnavailable):
        await hasher.verify("secret", None)

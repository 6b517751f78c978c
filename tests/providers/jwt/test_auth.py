"""Tokens in DeviceHive's layout, logins, and the key that signs."""

import base64
import hashlib
import json
import tracemalloc

import jwt
import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.internet.task import Clock

from dhtwisted.config.settings import AuthSettings, CompatibilitySettings, Settings
from dhtwisted.errors import InvalidCredentials, StorageUnavailable
from dhtwisted.model import Claims, User
from dhtwisted.providers.jwt.auth import CLIENT_ACTIONS, JWTAuth
from dhtwisted.providers.memory import MemoryStorage
from dhtwisted.testing.auth import AuthContract

KEY = b"k" * 32
LENIENT = Settings(compatibility=CompatibilitySettings(secret_encoding="base64-lenient"))
QUICK = Settings(auth=AuthSettings(password_cost=10))
PAYLOAD = {"u": 7, "a": [2, 3], "n": ["3", "12"], "dt": ["*"], "e": 1767323045678, "t": 1}


class TestJWTAuth(AuthContract):
    """The public contract."""

    async def make_auth(self, storage, reactor):
        self.storage = storage
        return JWTAuth(reactor, QUICK, storage, KEY)

    async def lose_directory(self, auth):
        await self.storage.close()


def make_auth(settings=QUICK, key=KEY):
    """Make a provider for token work alone."""
    return JWTAuth(Clock(), settings, None, key)


def sign(payload, key=KEY, algorithm="HS256", **headers):
    """Make a token that this server did not make."""
    return jwt.encode({"payload": payload}, key, algorithm, headers=headers or None)


def test_a_token_of_the_reference_layout_is_read():
    assert make_auth().verify(sign(PAYLOAD)) == Claims(
        user_id=7,
        actions=frozenset({2, 3}),
        network_ids=frozenset({"3", "12"}),
        device_type_ids=frozenset({"*"}),
        expires=1767323045678,
        refresh=False,
    )


def test_a_token_is_written_in_the_reference_layout():
    auth = make_auth()
    token = auth.issue(auth.verify(sign(PAYLOAD)))
    header, body, _ = (json.loads(base64.urlsafe_b64decode(part + "==")) if n < 2 else part for n, part in enumerate(token.split(".")))
    assert header["alg"] == "HS256"
    assert list(body) == ["payload"]
    assert body["payload"] | {"n": sorted(body["payload"]["n"])} == PAYLOAD | {"n": sorted(PAYLOAD["n"])}
    assert list(body["payload"]) == ["u", "a", "n", "dt", "e", "t"]


def test_absent_members_stay_absent():
    auth = make_auth()
    claims = auth.verify(sign({"u": 1, "e": 5, "t": 0}))
    assert (claims.actions, claims.network_ids, claims.device_type_ids, claims.refresh) == (None, None, None, True)
    assert jwt.decode(auth.issue(claims), KEY, ["HS256"]) == {"payload": {"u": 1, "e": 5, "t": 0}}


@pytest.mark.parametrize(
    "change",
    [
        {"u": None},
        {"u": "7"},
        {"u": True},
        {"u": 0},
        {"u": 2**63},
        {"u": 7.0},
        {"e": None},
        {"e": "1767323045678"},
        {"e": False},
        {"e": 1e15},
        {"t": None},
        {"t": True},
        {"t": 2},
        {"t": -1},
        {"t": "1"},
        {"a": 2},
        {"a": ["2"]},
        {"a": [True]},
        {"a": [19]},
        {"a": [-1]},
        {"a": {"2": 1}},
        {"n": "3"},
        {"n": [3]},
        {"n": ["x"]},
        {"n": ["-3"]},
        {"n": ["٣"]},
        {"n": ["9" * 20]},
        {"dt": {"*": 1}},
        {"dt": [None]},
        {"tpc": "topic"},
    ],
)
def test_a_payload_with_a_member_of_another_kind_is_refused(change):
    with pytest.raises(InvalidCredentials):
        make_auth().verify(sign(PAYLOAD | change))


@pytest.mark.parametrize("payload", [None, [], "x", 5, {}, {"tpc": "topic", "a": [0], "e": 5, "t": 1}])
def test_another_payload_is_refused(payload):
    with pytest.raises(InvalidCredentials):
        make_auth().verify(sign(payload))


def encode_part(value):
    return base64.urlsafe_b64encode(value if isinstance(value, bytes) else json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "x",
        "\ud800",
        "a.b.\ud800",
        "\0",
        "é" * 100,
        "x" * 100_000,
        sign(PAYLOAD, b"j" * 32),
        sign(PAYLOAD, b"k" * 64, "HS512"),
        sign(PAYLOAD, None, "none"),
        sign(PAYLOAD)[:-2],
        sign(PAYLOAD) + ".x",
        sign(PAYLOAD, b64=False),
        f"{encode_part({'alg': 'none'})}.{encode_part({'payload': PAYLOAD})}.",
        f"{encode_part({'alg': ['HS256']})}.{encode_part({'payload': PAYLOAD})}.AAAA",
        f"{encode_part(b'[' * 100_000)}.e30.AAAA",
        f"{encode_part(b'{' + bytes([34]) + b'alg' + bytes([34]) + b':' + b'9' * 10_000 + b'}')}.e30.AAAA",
    ],
    ids=lambda token: ascii(token[:12]),
)
def test_what_is_no_good_token_is_refused(token):
    with pytest.raises(InvalidCredentials):
        make_auth().verify(token)


_ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=4,
)


@given(
    st.binary() | st.dictionaries(st.sampled_from(["alg", "typ", "b64", "crit", "kid", "jwk", "x"]), _ANY_JSON),
    st.binary() | _ANY_JSON,
    st.binary(max_size=40),
)
def test_whatever_is_in_the_three_parts_of_a_token_is_refused(header, payload, signature):
    token = ".".join(map(encode_part, (header, payload, signature)))
    with pytest.raises(InvalidCredentials):
        make_auth().verify(token)


@given(
    _ANY_JSON
    | st.fixed_dictionaries({}, optional={name: _ANY_JSON for name in ("exp", "nbf", "iat", "iss", "aud", "sub", "jti", "payload")})
)
def test_whatever_a_good_signature_stands_under_is_refused(payload):
    """Another program with the same key may have written it."""
    token = jwt.api_jws.encode(json.dumps(payload).encode(), KEY, "HS256")
    with pytest.raises(InvalidCredentials):
        make_auth().verify(token)


def test_a_token_signed_over_something_else_than_an_object_is_refused():
    token = jwt.api_jws.encode(b"[1]", KEY, "HS256")
    deep = jwt.api_jws.encode(b"[" * 100_000, KEY, "HS256")
    for bad in (token, deep):
        with pytest.raises(InvalidCredentials):
            make_auth().verify(bad)


def test_a_token_of_another_key_is_refused_even_after_the_same_was_verified_elsewhere():
    token = sign(PAYLOAD)
    assert make_auth().verify(token)
    with pytest.raises(InvalidCredentials):
        make_auth(key=b"j" * 32).verify(token)


def test_an_empty_list_of_actions_is_nothing():
    assert make_auth().verify(sign(PAYLOAD | {"a": []})).actions == frozenset()


def test_an_empty_list_of_actions_is_a_client_where_tokens_are_shared_with_a_devicehive_auth_service():
    auth = make_auth(LENIENT)
    assert auth.verify(sign(PAYLOAD | {"a": []})).actions == CLIENT_ACTIONS
    assert len(CLIENT_ACTIONS) == 13


def test_no_action_never_becomes_those_of_a_client_on_the_way():
    auth = make_auth(LENIENT)
    claims = Claims(user_id=1, actions=frozenset(), network_ids=None, device_type_ids=None, expires=5)
    assert auth.verify(auth.issue(claims)).actions == {1}


ids = st.none() | st.frozensets(st.just("*") | st.integers(0, 10**18).map(str))


@given(
    st.builds(
        Claims,
        user_id=st.integers(1, 2**63 - 1),
        actions=st.none() | st.frozensets(st.integers(0, 18)),
        network_ids=ids,
        device_type_ids=ids,
        expires=st.integers(-(2**63), 2**63 - 1),
        refresh=st.booleans(),
    )
)
def test_claims_come_back_equal(claims):
    auth = make_auth()
    assert auth.verify(auth.issue(claims)) == claims


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda children: st.lists(children) | st.dictionaries(st.sampled_from(["u", "a", "n", "dt", "e", "t"]) | st.text(), children),
    )
)
def test_any_payload_is_claims_or_invalid_credentials(payload):
    try:
        assert isinstance(make_auth().verify(sign(payload)), Claims)
    except InvalidCredentials:
        assert True


@pytest_twisted.ensureDeferred
async def test_an_old_record_is_made_anew_at_login(reactor):
    storage = MemoryStorage(reactor)
    await storage.open()
    auth = JWTAuth(reactor, QUICK, storage, KEY)
    old = "$devicehive$c2FsdA==$" + base64.b64encode(hashlib.sha256(b"c2FsdA==" + b"swordfish").digest()).decode()
    await storage.insert(User(login="anna", password=old))
    user = await auth.login("anna", "swordfish")
    assert user.password.startswith("$scrypt$10$")
    assert user == await storage.get(User, user.id)
    assert (await auth.login("anna", "swordfish")).password == user.password
    await auth.close()


class ReadOnlyStorage(MemoryStorage):
    """A storage whose disk is full."""

    async def update(self, kind, key, changes):
        raise StorageUnavailable("disk full")


@pytest_twisted.ensureDeferred
async def test_a_login_is_good_although_its_record_cannot_be_made_anew(reactor):
    storage = ReadOnlyStorage(reactor)
    await storage.open()
    auth = JWTAuth(reactor, QUICK, storage, KEY)
    other = JWTAuth(reactor, Settings(auth=AuthSettings(password_cost=11)), storage, KEY)
    stored = await storage.insert(User(login="anna", password=await other.hash_password("swordfish")))
    assert await auth.login("anna", "swordfish") == stored
    await auth.close()
    await other.close()


@pytest.mark.slow
@pytest.mark.lowest
def test_verified_tokens_weigh_what_they_hold():
    auth = make_auth()
    claims = Claims(user_id=1, actions=None, network_ids=None, device_type_ids=None, expires=1)
    tokens = [
        auth.issue(replace(claims, network_ids=frozenset(str(10**12 + first + number) for number in range(20_000))))
        for first in range(0, 600_000, 20_000)
    ]
    auth.verify(auth.issue(claims))
    tracemalloc.start()
    try:
        for token in tokens:
            auth.verify(token)
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 8 * 1024**2 < held < 20 * 1024**2, "some of them, and not the 65 MiB of all"
    assert auth.verify(tokens[-1]) is auth.verify(tokens[-1])
    assert auth.verify(tokens[0]) == auth.verify(tokens[0])

"""Access rules of plain topics: nothing by default, and no login or client id makes a rule wider."""

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from dhtwisted.config.mqtt_tables import AccessRule
from dhtwisted.core.access import DevicePrincipal, Principal
from dhtwisted.core.entity_cache import EntityCache
from dhtwisted.core.request_deadlines import Deadlines
from dhtwisted.fronts.mqtt.access import PlainAccess
from dhtwisted.model import ADMINISTRATOR, CLIENT, Claims, DeviceToken, User
from dhtwisted.providers.memory import MemoryStorage
from dhtwisted.testing.server import at_once

EVERYTHING = frozenset({"*"})
RULES = (
    AccessRule(who="sensors", publish=("tele/{login}/#", "state/+"), subscribe=("cmnd/{login}/#",)),
    AccessRule(who="role:client", publish=("clients/{client_id}/up",), subscribe=("clients/{client_id}/#",)),
    AccessRule(who="role:admin", publish=("#",), subscribe=("#",)),
    AccessRule(who="anonymous", publish=("guests/{client_id}",)),
    AccessRule(who="*", subscribe=("news/#",)),
)


class Users:
    """A server's users, and principals of them."""

    def __init__(self):
        self.entities = EntityCache(MemoryStorage(Clock()), lambda kind, key: None, Deadlines(Clock()))

    def principal(self, login="sensors", role=CLIENT, actions=frozenset({0}), kind=Principal, **claims):
        user = at_once(self.entities.insert(User(login=login, role=role)))
        return kind(
            Claims(user_id=user.id, actions=actions, network_ids=EVERYTHING, device_type_ids=EVERYTHING, expires=1000, **claims),
            self.entities,
        )

    def access(self, *rules):
        return PlainAccess(rules, self.entities)


@pytest.fixture
def users():
    return Users()


def test_nothing_is_permitted_by_default(users):
    access = users.access()
    for principal in (None, users.principal(), users.principal("root", ADMINISTRATOR)):
        assert not access.may_publish(principal, "c1", "a")
        assert not access.may_subscribe(principal, "c1", "a")


@pytest.mark.parametrize(
    ("login", "topic", "expected"),
    [
        ("sensors", "tele/sensors/pump", True),
        ("sensors", "tele/sensors", True),
        ("sensors", "tele/others/pump", False),
        ("sensors", "state/x", True),
        ("sensors", "state/x/y", False),
        ("sensors", "clients/c1/up", True),
        ("sensors", "clients/c2/up", False),
        ("sensors", "guests/c1", False),
        ("sensors", "cmnd/sensors/x", False),
        ("others", "tele/sensors/pump", False),
        ("others", "tele/others/pump", False),
        ("others", "clients/c1/up", True),
        (None, "guests/c1", True),
        (None, "guests/c2", False),
        (None, "clients/c1/up", False),
    ],
)
def test_who_may_publish_where(users, login, topic, expected):
    access = users.access(*RULES)
    principal = None if login is None else users.principal(login)
    assert access.may_publish(principal, "c1", topic) is expected
    assert access.may_publish(principal, "c1", topic) is expected, "the answer that was kept"


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("cmnd/sensors/#", True),
        ("cmnd/sensors", True),
        ("cmnd/sensors/+/x", True),
        ("cmnd/+/x", False),
        ("cmnd/#", False),
        ("#", False),
        ("+/#", False),
        ("news/today", True),
        ("clients/c1/#", True),
        ("clients/+/up", False),
        ("tele/sensors/pump", False),
    ],
)
def test_a_filter_must_be_wholly_permitted(users, pattern, expected):
    assert users.access(*RULES).may_subscribe(users.principal(), "c1", pattern) is expected


@pytest.mark.parametrize("topic", ["dh/request", "dh/notification/1/1/d/n", "dh/", "$SYS/broker/uptime", "$share/g/x"])
def test_no_rule_is_about_topics_of_the_server(users, topic):
    rule = AccessRule(who="*", publish=("#", "+/#", "$SYS/#", "$share/#", "dh/#"), subscribe=("#", "$SYS/#", "dh/#"))
    access = users.access(rule)
    for principal in (None, users.principal(), users.principal("root", ADMINISTRATOR)):
        assert not access.may_publish(principal, "c1", topic)
    assert not access.may_subscribe(users.principal("other"), "c1", topic)


def test_a_wildcard_gives_nothing_of_the_server(users):
    access, root = users.access(*RULES), users.principal("root", ADMINISTRATOR)
    assert access.may_subscribe(root, "c1", "#")


@pytest.mark.parametrize("pattern", ["$SYS/#", "$SYS/broker/uptime", "$SYS/+/x", "$SYS"])
def test_only_administrators_hear_the_figures_of_the_server(users, pattern):
    access = users.access(*RULES)
    assert access.may_subscribe(users.principal("root", ADMINISTRATOR), "c1", pattern)
    assert not access.may_subscribe(users.principal(), "c1", pattern)
    assert not access.may_subscribe(None, "c1", pattern)


def test_a_token_with_fewer_permissions_is_no_administrator(users):
    access = users.access(*RULES)
    weak = users.principal("root", ADMINISTRATOR, actions=frozenset({3, 4}))
    assert not access.may_subscribe(weak, "c1", "#")
    assert not access.may_subscribe(weak, "c1", "$SYS/#")
    assert access.may_publish(weak, "c1", "clients/c1/up")


def test_the_token_of_an_administrators_device_is_no_administrator(users):
    device = users.principal("root", ADMINISTRATOR, kind=DevicePrincipal, device_id="d1", token_id=7)
    record = DeviceToken(id=7, device_id="d1", user_id=device.user_id, created=1, expires=1000, label=None)
    at_once(users.entities.insert(record))
    access = users.access(*RULES)
    assert device.is_administrator, "the user is one"
    assert not access.may_subscribe(device, "c1", "#")
    assert not access.may_subscribe(device, "c1", "$SYS/#")
    assert access.may_subscribe(device, "c1", "news/#")
    at_once(users.entities.delete(DeviceToken, 7))
    assert not access.may_subscribe(device, "c1", "news/#"), "a revoked token has nothing"


def test_a_change_of_the_user_acts_at_once(users):
    access, principal = users.access(*RULES), users.principal()
    assert not access.may_subscribe(principal, "c1", "$SYS/#")
    at_once(users.entities.update(User, principal.user_id, {"role": ADMINISTRATOR}))
    assert access.may_subscribe(principal, "c1", "$SYS/#")
    at_once(users.entities.update(User, principal.user_id, {"role": CLIENT, "login": "others", "login_key": "others"}))
    assert not access.may_publish(principal, "c1", "tele/sensors/x")
    at_once(users.entities.delete(User, principal.user_id))
    assert not access.may_subscribe(principal, "c1", "news/#")


def test_other_rules_act_at_once(users):
    access, principal = users.access(*RULES), users.principal()
    assert access.may_publish(principal, "c1", "state/x")
    access.change([AccessRule(who="*", publish=("other",))])
    assert not access.may_publish(principal, "c1", "state/x")
    assert access.may_publish(principal, "c1", "other")


@pytest.mark.parametrize("login", ["anonymous", "role:admin", "role:client"])
def test_a_login_that_is_a_word_of_the_rules_gets_nothing_by_it(users, login):
    access = users.access(AccessRule(who=login, publish=("secret",)))
    kind = {"role:client": ADMINISTRATOR}.get(login, CLIENT)
    assert not access.may_publish(users.principal(login, kind), "c1", "secret")


WIDE = ["+", "#", "a/b", "a/#", "/", "", "+/x", "a+", "a#b"]


@pytest.mark.parametrize("value", WIDE)
def test_a_login_or_client_id_never_makes_a_rule_wider(users, value):
    rules = AccessRule(
        who="*",
        publish=("tele/{login}/#", "own/{client_id}"),
        subscribe=("tele/{login}/#", "own/{client_id}", "own/x{client_id}/a"),
    )
    access = users.access(rules)
    principal = users.principal(value)
    for topic in ("tele/x/y", f"tele/{value}/y", "own/x", f"own/{value}", "own/", "tele//y", "own/xb/a"):
        assert not access.may_publish(principal, value, topic)
    for pattern in ("#", "tele/#", "tele/+/#", f"tele/{value}/#", "own/+", "own/#", f"own/{value}"):
        assert not access.may_subscribe(principal, value, pattern)


def test_a_value_cannot_become_a_topic_of_the_server(users):
    access = users.access(AccessRule(who="*", publish=("{client_id}/#",), subscribe=("{client_id}/#",)))
    for value, topic in (("$SYS", "$SYS/x"), ("dh", "dh/request"), ("$share", "$share/x"), ("$other", "$other/x")):
        assert not access.may_publish(None, value, topic)
        assert not access.may_subscribe(None, value, topic)
    assert access.may_publish(None, "c1", "c1/x")


@given(st.text(max_size=8) | st.text("+#/$a", max_size=5), st.text("ab+#/$", min_size=1, max_size=8))
def test_a_rule_with_a_placeholder_is_about_one_level(value, topic):
    access = Users().access(AccessRule(who="*", publish=("{client_id}/x",)))
    permitted = access.may_publish(None, value, topic)
    assert not permitted or (topic == f"{value}/x" and "/" not in value)


def test_many_topics_do_not_stay_in_memory(users):
    access = users.access(AccessRule(who="*", publish=("a/+",)))
    tracemalloc.start()
    for number in range(10_000):
        assert access.may_publish(None, "c1", f"a/{number}")
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size < 100_000

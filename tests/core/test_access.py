"""Permissions, networks and device types of a token and its user (auth reference, sections 3 and 5)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock

from dhtwisted.core.access import (
    ADMINISTRATOR_ONLY,
    ALL_PERMISSIONS,
    CLIENT_PERMISSIONS,
    PERMISSIONS_BY_NAME,
    Permission,
    Principal,
    intersect,
)
from dhtwisted.core.entity_cache import EntityCache
from dhtwisted.core.request_deadlines import Deadlines
from dhtwisted.errors import AccessDenied, TokenExpired, Unauthorized
from dhtwisted.model import ADMINISTRATOR, CLIENT, DISABLED, LOCKED_OUT, Claims, User
from dhtwisted.providers.memory import MemoryStorage
from dhtwisted.testing.server import at_once

WIRE = {
    "*": 0,
    "GetNetwork": 2,
    "GetDevice": 3,
    "GetDeviceNotification": 4,
    "GetDeviceCommand": 5,
    "RegisterDevice": 6,
    "CreateDeviceCommand": 7,
    "UpdateDeviceCommand": 8,
    "CreateDeviceNotification": 9,
    "GetCurrentUser": 10,
    "UpdateCurrentUser": 11,
    "ManageUser": 12,
    "ManageConfiguration": 13,
    "ManageNetwork": 14,
    "ManageToken": 15,
    "ManagePlugin": 16,
    "GetDeviceType": 17,
    "ManageDeviceType": 18,
}
EVERYTHING = frozenset({"*"})


def make(role=CLIENT, clock=None, user=True, **fields):
    """A principal, and the entities in which its user is; ``claims`` members by their names, the rest is the user's."""
    claims = {"actions": frozenset({0}), "network_ids": EVERYTHING, "device_type_ids": EVERYTHING, "expires": 1000}
    claims = {name: fields.pop(name, value) for name, value in claims.items()}
    entities = EntityCache(MemoryStorage(Clock()), lambda kind, key: None, Deadlines(Clock()))
    if user:
        fields = {"network_ids": fields.pop("networks", frozenset()), "device_type_ids": fields.pop("types", frozenset())} | fields
        at_once(entities.insert(User(login="anna", role=role, **fields)))
    return Principal(Claims(user_id=1, **claims), entities, clock), entities


def test_the_names_and_numbers_are_those_of_the_wire():
    assert {name.lower(): number for name, number in WIRE.items()} == {name: int(value) for name, value in PERMISSIONS_BY_NAME.items()}
    assert {permission.wire_name for permission in ALL_PERMISSIONS} == WIRE.keys() - {"*"}
    assert set(map(int, ADMINISTRATOR_ONLY)) == {12, 13, 14, 18}
    assert set(map(int, CLIENT_PERMISSIONS)) == {2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 15, 16, 17}


@pytest.mark.parametrize(
    ("actions", "permitted"),
    [
        ({0}, set(range(2, 19))),
        ({0, 5}, set(range(2, 19))),
        ({2, 3}, {2, 3}),
        ({1}, set()),
        (set(), set()),
        (None, set()),
    ],
)
def test_what_the_list_of_actions_permits(actions, permitted):
    principal, _ = make(actions=None if actions is None else frozenset(actions))
    for permission in ALL_PERMISSIONS:
        assert principal.permits(permission) == (permission in permitted)
        if permission in permitted:
            principal.require(frozenset({permission}))
        else:
            with pytest.raises(AccessDenied):
                principal.require(frozenset({permission}))


def test_one_of_several_permissions_is_enough():
    principal, _ = make(actions=frozenset({5}))
    principal.require(frozenset({Permission.GET_DEVICE_NOTIFICATION, Permission.GET_DEVICE_COMMAND}))


def test_the_role_is_not_asked_for_a_permission():
    principal, _ = make(role=CLIENT, actions=frozenset({12}))
    principal.require(frozenset({Permission.MANAGE_USER}))


@pytest.mark.parametrize("status", [LOCKED_OUT, DISABLED])
def test_a_user_who_is_not_active_has_nothing_from_now_on(status):
    principal, entities = make()
    principal.require(frozenset({Permission.GET_DEVICE}))
    at_once(entities.update(User, 1, {"status": status}))
    with pytest.raises(Unauthorized) as refused:
        principal.require(frozenset({Permission.GET_DEVICE}))
    assert refused.value.text == "Unauthorized"
    assert not principal.permits(Permission.GET_DEVICE)


def test_a_user_who_was_deleted_has_nothing():
    principal, entities = make(role=ADMINISTRATOR)
    assert principal.sees(1, 1, "pump")
    at_once(entities.delete(User, 1))
    with pytest.raises(Unauthorized):
        principal.require(frozenset({Permission.GET_DEVICE}))
    assert not principal.permits(Permission.GET_DEVICE)
    assert not principal.sees(1, 1, "pump")
    assert not principal.unrestricted
    assert (principal.networks(), principal.device_types()) == (frozenset(), frozenset())


def test_expiry_counts_only_with_a_clock():
    clock = Clock()
    strict, _ = make(clock=clock, expires=5000)
    lax, _ = make(expires=5000)
    clock.advance(4.999)
    strict.require(frozenset({Permission.GET_DEVICE}))
    clock.advance(0.001)
    with pytest.raises(TokenExpired) as refused:
        strict.require(frozenset({Permission.GET_DEVICE}))
    assert refused.value.text == "Token expired"
    assert not strict.permits(Permission.GET_DEVICE)
    lax.require(frozenset({Permission.GET_DEVICE}))


LISTS = [
    (None, None),
    (frozenset(), frozenset()),
    (EVERYTHING, "*"),
    (frozenset({"1", "2"}), frozenset({1, 2})),
    (frozenset({"*", "1"}), "*"),
]


@pytest.mark.parametrize("role", [ADMINISTRATOR, CLIENT])
@pytest.mark.parametrize("assigned", [frozenset(), frozenset({2, 3})])
@pytest.mark.parametrize(("token", "named"), LISTS)
def test_networks_are_the_tokens_within_the_users(role, assigned, token, named):
    """An absent list of a token is none (section 5)."""
    principal, _ = make(role=role, networks=assigned, network_ids=token)
    own = None if role == ADMINISTRATOR else assigned
    if named is None:
        expected = frozenset()
    elif named == "*":
        expected = own
    else:
        expected = named if own is None else named & own
    assert principal.networks() == expected
    assert principal.assigned_networks() == own


@pytest.mark.parametrize("role", [ADMINISTRATOR, CLIENT])
@pytest.mark.parametrize("every", [True, False])
@pytest.mark.parametrize("assigned", [frozenset(), frozenset({2, 3})])
@pytest.mark.parametrize(("token", "named"), LISTS)
def test_device_types_are_the_tokens_within_the_users(role, every, assigned, token, named):
    """An absent list of a token is all for who may use all, else none (section 5)."""
    principal, _ = make(role=role, types=assigned, all_device_types_available=every, device_type_ids=token)
    own = None if role == ADMINISTRATOR or every else assigned
    if named is None and own is not None:
        expected = frozenset()
    elif named in (None, "*"):
        expected = own
    else:
        expected = intersect(named, own)
    assert principal.device_types() == expected
    assert principal.assigned_device_types() == own


@pytest.mark.parametrize(
    ("fields", "unrestricted"),
    [
        ({"role": ADMINISTRATOR}, True),
        ({"role": ADMINISTRATOR, "device_type_ids": None}, True),
        ({"role": ADMINISTRATOR, "network_ids": None}, False),
        ({"role": ADMINISTRATOR, "network_ids": frozenset({"1"})}, False),
        ({"role": ADMINISTRATOR, "device_type_ids": frozenset({"1"})}, False),
        ({"role": CLIENT, "networks": frozenset({1})}, False),
    ],
)
def test_unrestricted_means_all_on_both_sides(fields, unrestricted):
    assert make(**fields)[0].unrestricted == unrestricted


def test_a_change_of_assignments_acts_at_once():
    principal, entities = make(networks=frozenset({1}))
    assert principal.sees(1, 9, "pump")
    assert not principal.sees(2, 9, "pump")
    at_once(
        entities.update(User, 1, {"network_ids": frozenset({2}), "all_device_types_available": False, "device_type_ids": frozenset({9})})
    )
    assert not principal.sees(1, 9, "pump")
    assert principal.sees(2, 9, "pump")
    assert not principal.sees(2, 8, "pump")
    at_once(entities.update(User, 1, {"role": ADMINISTRATOR}))
    assert principal.sees(1, 8, "pump")


def test_a_user_whom_nobody_knows_sees_nothing():
    principal, _ = make(user=False)
    assert not principal.sees(1, 1, "pump")


def test_entries_that_are_no_number_name_nothing():
    principal, _ = make(role=ADMINISTRATOR, network_ids=frozenset({"abc", "-1", "٣", "9" * 30, "4"}))
    assert principal.networks() == frozenset({4})


sets = st.none() | st.frozensets(st.integers(0, 5))


@given(sets, sets, st.integers(0, 5))
def test_an_intersection_has_what_both_have(some, others, element):
    both = intersect(some, others)
    assert (both is None or element in both) == ((some is None or element in some) and (others is None or element in others))

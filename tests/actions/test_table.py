"""Every action is whole: request members, permission decision, documentation, and a transcript."""

import inspect
import re
from pathlib import Path

import pytest

from dhtwisted import actions
from dhtwisted.actions import ACTIONS, MODULES, REST_ONLY
from dhtwisted.actions.table import action, put_in_order
from dhtwisted.core.access import Permission
from dhtwisted.wire.fields import Fields
from tests.support.transcript import transcripts

NEEDED = {
    "authenticate": set(),
    "token": set(),
    "token/refresh": set(),
    "token/create": {Permission.MANAGE_TOKEN},
    # Our own.
    "token/list": {Permission.MANAGE_TOKEN},
    "token/revoke": {Permission.MANAGE_TOKEN},
    "server/info": set(),
    "server/cacheInfo": set(),
    "cluster/info": set(),
    "configuration/get": {Permission.MANAGE_CONFIGURATION},
    "configuration/put": {Permission.MANAGE_CONFIGURATION},
    "configuration/delete": {Permission.MANAGE_CONFIGURATION},
    "device/get": {Permission.GET_DEVICE},
    "device/list": {Permission.GET_DEVICE},
    "device/count": {Permission.GET_DEVICE},
    "device/save": {Permission.REGISTER_DEVICE},
    "device/delete": {Permission.REGISTER_DEVICE},
    "command/insert": {Permission.CREATE_DEVICE_COMMAND},
    "command/get": {Permission.GET_DEVICE_COMMAND},
    "command/list": {Permission.GET_DEVICE_COMMAND},
    "command/update": {Permission.UPDATE_DEVICE_COMMAND},
    "command/subscribe": {Permission.GET_DEVICE_COMMAND},
    "command/unsubscribe": {Permission.GET_DEVICE_COMMAND},
    "notification/insert": {Permission.CREATE_DEVICE_NOTIFICATION},
    "notification/get": {Permission.GET_DEVICE_NOTIFICATION},
    "notification/list": {Permission.GET_DEVICE_NOTIFICATION},
    "notification/subscribe": {Permission.GET_DEVICE_NOTIFICATION},
    "notification/unsubscribe": {Permission.GET_DEVICE_NOTIFICATION},
    "subscription/list": {Permission.GET_DEVICE_COMMAND, Permission.GET_DEVICE_NOTIFICATION},
    "network/list": {Permission.GET_NETWORK},
    "network/count": {Permission.GET_NETWORK},
    "network/get": {Permission.GET_NETWORK},
    "network/insert": {Permission.MANAGE_NETWORK},
    "network/update": {Permission.MANAGE_NETWORK},
    "network/delete": {Permission.MANAGE_NETWORK},
    "devicetype/list": {Permission.GET_DEVICE_TYPE},
    "devicetype/count": {Permission.GET_DEVICE_TYPE},
    "devicetype/get": {Permission.GET_DEVICE_TYPE},
    "devicetype/insert": {Permission.MANAGE_DEVICE_TYPE},
    "devicetype/update": {Permission.MANAGE_DEVICE_TYPE},
    "devicetype/delete": {Permission.MANAGE_DEVICE_TYPE},
    "user/list": {Permission.MANAGE_USER},
    "user/count": {Permission.MANAGE_USER},
    "user/get": {Permission.MANAGE_USER},
    "user/insert": {Permission.MANAGE_USER},
    "user/update": {Permission.MANAGE_USER},
    "user/delete": {Permission.MANAGE_USER},
    "user/getCurrent": {Permission.GET_CURRENT_USER},
    "user/updateCurrent": {Permission.UPDATE_CURRENT_USER},
    "user/getNetwork": {Permission.GET_NETWORK},
    "user/assignNetwork": {Permission.MANAGE_NETWORK},
    "user/unassignNetwork": {Permission.MANAGE_NETWORK},
    "user/getDeviceType": {Permission.GET_DEVICE_TYPE},
    "user/getDeviceTypes": {Permission.MANAGE_DEVICE_TYPE},
    "user/assignDeviceType": {Permission.MANAGE_DEVICE_TYPE},
    "user/unassignDeviceType": {Permission.MANAGE_DEVICE_TYPE},
    "user/allowAllDeviceTypes": {Permission.MANAGE_DEVICE_TYPE},
    "user/disallowAllDeviceTypes": {Permission.MANAGE_DEVICE_TYPE},
}
"""WebSocket reference, section 3.1. A new action has to be put here, with the decision who may use it."""

EVENTS = {"command/insert", "command/update", "notification/insert"}

each_action = pytest.mark.parametrize("declared", ACTIONS.values(), ids=lambda declared: declared.name)


def test_every_action_of_the_reference_is_there():
    assert ACTIONS.keys() == NEEDED.keys()


def test_the_table_has_an_order_of_its_own():
    assert next(iter(ACTIONS)) == "authenticate"
    found = [declared.handler.__module__.rpartition(".")[2] for declared in ACTIONS.values()]
    assert list(dict.fromkeys(found)) == [name for name in MODULES if name != "poll"]


def test_every_module_that_declares_actions_is_in_the_list():
    declaring = {
        path.stem for path in Path(actions.__file__).parent.glob("*.py") if re.search(r"^@(action|endpoint)\(", path.read_text(), re.M)
    }
    assert declaring == set(MODULES)


def test_a_module_that_is_not_in_the_list_is_refused():
    with pytest.raises(LookupError, match=r"missing in dhtwisted\.actions\.MODULES: dhtwisted\.actions\.token$"):
        put_in_order([f"dhtwisted.actions.{name}" for name in MODULES if name != "token"])


@each_action
def test_the_permission_is_that_of_the_reference(declared):
    assert declared.permissions == NEEDED[declared.name]


@each_action
def test_the_request_is_described(declared):
    assert issubclass(declared.fields, Fields)
    assert inspect.cleandoc(declared.fields.__dict__.get("__doc__") or "")
    assert declared.fields.__struct_config__.tag == declared.name


@each_action
def test_the_action_is_documented(declared):
    assert declared.documentation.endswith((".", ".)"))


@each_action
def test_a_transcript_shows_success_and_errors(declared):
    name = declared.name.replace("/", "-")
    outcomes = next((transcript.outcomes() for transcript in transcripts() if transcript.name == name), set())
    expected = {"success"} if declared.name in ("server/info", "server/cacheInfo", "cluster/info") else {"success", "error"}
    expected |= {"event"} if declared.name in EVENTS else set()
    assert {(declared.name, outcome) for outcome in expected} <= outcomes, f"tests/transcripts/{name}.transcript lacks something"


def test_only_inserts_and_updates_overlap():
    assert {name for name, declared in ACTIONS.items() if declared.overlaps} == {
        "command/insert",
        "command/update",
        "notification/insert",
    }


def test_only_authenticate_has_a_token_of_its_own():
    assert {name for name, declared in ACTIONS.items() if declared.own_token} == {"authenticate"}


def test_an_action_is_declared_once():
    class Again(Fields, tag="server/info"):
        """Taken."""

    with pytest.raises(ValueError, match="server/info is declared twice"):
        action(Again)(None)


READING = {"get", "list", "count", "info", "cacheInfo", "getCurrent", "getNetwork", "getDeviceType", "getDeviceTypes"}
"""The last word of an action that changes nothing."""

ABOUT_MESSAGES = {
    "command/insert",
    "command/update",
    "notification/insert",
    "command/subscribe",
    "command/unsubscribe",
    "notification/subscribe",
    "notification/unsubscribe",
}
"""What is about messages, of which there are thousands in a second."""


@each_action
def test_what_writes_entities_or_makes_tokens_is_audited(declared):
    """A new action has to say what is recorded of it, or to be called as one that reads is."""
    is_audited = declared.name not in ABOUT_MESSAGES and declared.name.rpartition("/")[2] not in READING
    assert (declared.audit is not None) == is_audited


def test_what_only_rest_has_reads():
    assert {declared.name for declared in REST_ONLY.values() if declared.audit is not None} == set()
    assert all(declared.waits or declared.name.endswith("info") for declared in REST_ONLY.values())

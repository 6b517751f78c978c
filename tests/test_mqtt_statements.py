"""The statements of the MQTT standards that tests name are there, and the page about them is up to date."""

import pytest

from tests.support.mqtt import statements
from tests.support.mqtt.standards import NOT_TESTABLE, PROPERTIES, RULES, STATEMENTS
from tests.support.mqtt.statements import PAGE, open_ones, read, render, tested


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[MQTT-3.1.2-3]", {("5.0", "3.1.2-3")}),
        ("[MQTT-3.1.2-3] 3.1.1: [MQTT-1.5.3-1]", {("5.0", "3.1.2-3"), ("3.1.1", "1.5.3-1")}),
        ("3.1.1: [MQTT-2.2.2-1] [MQTT-3.9.3-2]", {("3.1.1", "2.2.2-1"), ("3.1.1", "3.9.3-2")}),
        (
            "[MQTT-4.1.0-1], [MQTT-4.1.0-2] of 5.0; [MQTT-3.2.2-1] of 3.1.1: kept",
            {("5.0", "4.1.0-1"), ("5.0", "4.1.0-2"), ("3.1.1", "3.2.2-1")},
        ),
        ("[MQTT-3.1.2-2] of both", {("5.0", "3.1.2-2"), ("3.1.1", "3.1.2-2")}),
        ("[MQTT-3.4.2-1] to [MQTT-3.4.2-3]", {("5.0", "3.4.2-1"), ("5.0", "3.4.2-2"), ("5.0", "3.4.2-3")}),
        ("section 3.1.2.11.3, and MQTT 5.0", set()),
    ],
)
def test_what_a_docstring_names(text, expected):
    assert read(text) == expected


def test_the_standards_have_all_statements_that_tests_name():
    unknown = {statement: tests for statement, tests in tested().items() if statement not in STATEMENTS}
    assert unknown == {}


def test_the_list_has_each_statement_once_and_those_of_properties_are_there():
    numbers = [rule.number for rule in RULES if rule.number]
    assert len(numbers) == len(set(numbers))
    assert {rule.binds for rule in RULES} == {"server", "client", "both"}
    named = {("5.0", number) for found in PROPERTIES.values() for number in found.statements}
    assert named <= set(STATEMENTS)


def test_what_the_server_must_keep_has_a_test_or_a_reason():
    assert open_ones() == []


def test_a_reason_is_only_for_what_has_no_test():
    names = {number if version == "5.0" else f"{number} of {version}" for version, number in tested()}
    assert names.isdisjoint(NOT_TESTABLE)


def test_the_page_is_up_to_date():
    command = f"python -m {statements.__name__}"
    assert PAGE.read_text(encoding="utf-8") == render(), f"run {command}"

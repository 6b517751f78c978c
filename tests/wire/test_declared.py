"""What a declared type says, however its notes are nested."""

from types import NoneType
from typing import Annotated

import pytest
from msgspec import Meta, Struct, UnsetType

from dhtwisted.errors import InvalidNotificationId, MalformedJson
from dhtwisted.wire.coercion import misfit
from dhtwisted.wire.declared import allows, is_required, meaning, plain_type
from dhtwisted.wire.fields import NotificationId
from dhtwisted.wire.members import REQUIRED

Id = Annotated[int, Meta(description="an id")]
PUMP_ID = Annotated[Id | None, Meta(description="id of a pump")]


@pytest.mark.parametrize(
    ("declared", "plain", "meant"),
    [
        (int, int, ""),
        (Id, int, "an id"),
        (Id | None, int, "an id"),
        (PUMP_ID, int, "id of a pump"),
        (Annotated[PUMP_ID, REQUIRED], int, "id of a pump"),
        (Annotated[Id | UnsetType, REQUIRED], int, "an id"),
        (Annotated[list[Id] | None, Meta(description="ids")], list[Id], "ids"),
        (list[Id], list[Id], ""),
        (dict[str, Id] | None, dict[str, Id], ""),
        (Annotated[Struct | None, REQUIRED], Struct, ""),
    ],
)
def test_the_outermost_note_counts(declared, plain, meant):
    assert (plain_type(declared), meaning(declared)) == (plain, meant)


def test_whether_it_may_be_absent_is_found_below_notes():
    assert [allows(declared, NoneType) for declared in (int, Id, Id | None, PUMP_ID, list[Id | None])] == [False, False, True, True, False]
    assert allows(Annotated[bool | UnsetType, REQUIRED], UnsetType)
    assert not allows(PUMP_ID, UnsetType)


def test_what_is_required_says_so():
    assert is_required(Annotated[Id | None, REQUIRED])
    assert not any(map(is_required, (int, Id | None, PUMP_ID, NotificationId, list[Annotated[int, REQUIRED]])))


@pytest.mark.parametrize("declared", [NotificationId | None, Annotated[NotificationId | None, Meta(description="an id"), REQUIRED]])
def test_an_error_of_its_own_is_found_below_notes(declared):
    assert type(misfit(declared, b'"x"', "notificationId")) is InvalidNotificationId
    assert type(misfit(Annotated[Id | None, REQUIRED], b'"x"', "id")) is MalformedJson

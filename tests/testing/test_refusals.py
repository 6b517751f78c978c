"""The suites refuse storages that break the contract, with a sentence that says what is wrong, and take the sound one."""

from collections import Counter

import pytest

from dhtwisted.model import ENTITY_KINDS
from dhtwisted.testing.storage.durable import ENTITIES
from tests.support.contracts.broken_storages import CHANGING, Sound
from tests.support.contracts.refusals import run_suite

pytestmark = pytest.mark.slow

RESTARTED = "test_every_field_outlives_a_restart"
UNIQUE = "test_what_is_unique_stays_unique_over_a_restart"
CLOSED = "test_a_closed_storage_refuses_entities"
CLOSED_TOO = "test_a_closed_storage_refuses_messages"
MESSAGES_BARRIER, UPDATES_BARRIER = "test_no_older_message_appears_after_a_barrier", "test_no_older_update_appears_after_a_barrier"
ORDER = "test_appends_complete_in_the_order_of_their_ids"

SIZE = "test_an_answer_may_end_where_it_has_its_bytes"

REPLACED = "test_what_is_put_takes_the_place_of_what_has_its_key"
PAGES = "test_a_range_of_a_group_is_read_page_by_page"

COPYING = ("EmptyCopy", "CopiesInSecret")
COPIED = "test_a_copy_that_is_put_back_has_all_that_was_acknowledged"

REFUSED = [
    ("EmptyCopy", COPIED, "a copy must have all that was acknowledged before the call"),
    ("CopiesInSecret", "test_says_that_it_copies_itself", "a storage that has back_up must declare it with implementer(IBackedUpStorage)"),
    ("UnboundedAnswers", SIZE, "IBoundedAnswers: an answer ends with what reaches size, this one goes on"),
    (
        "UnprovedCopies",
        "test_copies_of_itself_are_proved",
        "the tests of a storage that provides IBackedUpStorage must use BackedUpStorageContract",
    ),
    *(
        (f"Late_{method}", f"test_what_is_acknowledged_is_written[{method}]", f"{method} was acknowledged before it was written")
        for method in CHANGING
    ),
    ("BarrierBeforeAppends", MESSAGES_BARRIER, "400 messages that were stamped before its call became visible after it completed"),
    ("BarrierBeforeUpdates", UPDATES_BARRIER, "append(()) is a barrier for updates of commands too: 400 that were stamped before"),
    ("OutOfOrder", ORDER, "appends must complete in the order of their ids: that of 400 completed before that of 1"),
    ("KeepsTheFirst", REPLACED, "change_many must put an entity in the place of the one with its key, with all its fields"),
    ("StoresOrRemoves", REPLACED, "one call of change_many may both store and remove; this one did not do all"),
    ("RemovesSimilarGroups", "test_a_group_is_removed_as_a_whole", "remove_group must remove the group, and no other"),
    ("NeedsThePlace", PAGES, "a page that begins behind a key must be found, also when the entity of that key was removed meanwhile"),
    ("TakesAThousand", "test_one_call_may_have_thousands_of_changes", "change_many must store all of 5000 entities"),
    ("CutsContents", "test_large_contents_come_back_byte_for_byte", "contents of a megabyte must be kept byte for byte"),
    ("MixesGroups", "test_many_groups_are_kept_apart", "with 300 groups each must have its own, and only that"),
    ("OvertakesItself", "test_changes_take_effect_in_the_order_of_their_calls", "calls of change_many must complete in their order"),
    ("LosesField", f"{RESTARTED}[user]", "User.last_login was 5 and is None after a restart: every field must be kept"),
    ("LosesKind", f"{RESTARTED}[devicetoken]", "a DeviceToken is gone after a restart: every kind of model.ENTITY_KINDS must be kept"),
    ("LosesKind", f"{UNIQUE}[devicetoken]", "after a restart insert of a DeviceToken with a taken id must raise Duplicate"),
    ("LosesUnique", f"{UNIQUE}[user]", "after a restart insert of a User with a taken login must raise Duplicate; it raised nothing"),
    ("LosesUnique", f"{UNIQUE}[network]", "after a restart insert of a Network with a taken name must raise Duplicate; it raised nothing"),
    ("LosesNumber", "test_a_number_is_raised_above_what_it_was_before_a_restart", "model.Raised after a restart made 5 of 1000"),
    (
        "ForgetsByTimestamp",
        "test_how_long_a_message_is_kept_is_not_its_clients_to_say",
        "forget_messages must use arrived, not timestamp: a message with an old timestamp has just arrived",
    ),
    ("LosesArrivals", "test_messages_outlive_a_restart", "and the others unchanged, with their arrival"),
    ("RestoresAsNew", "test_restored_messages_are_as_they_were", "restore must keep every field: ids, times and the arrival"),
    ("RestoresAsNew", "test_restored_messages_are_as_old_as_they_were", "a restored message has its arrival"),
    ("NeverUpdates", "test_update_command", "update_command did not complete within 0.2 s: every call must end by itself"),
    ("NeverUpdates", "test_finds_what_the_model_finds", "update_command did not complete within 0.2 s"),
    ("NeverOpens", "test_update_command", "open did not complete within 0.2 s"),
    ("NeverCloses", "test_update_command", "close did not complete within 0.2 s"),
    ("ClosesWhatIsOpen", "test_what_was_never_opened_can_be_closed", "close is called when open failed, and must do nothing then"),
    ("NothingToAwait", "test_update_command", "update_command must return an awaitable, not None: write async def, or return a Deferred"),
    ("Shared", "test_payloads_come_back_byte_for_byte[b'null']", "the storage is not empty at the start of a test, it has Command("),
    ("Leftovers", "test_what_is_acknowledged_is_written[append]", "the storage is not empty at the start of a test, it has Command("),
    (
        "Unpicklable",
        "test_what_is_acknowledged_is_written[append]",
        "the process gets what fixtures set on self if it can be pickled; these could",
    ),
    (
        "Hidden",
        "test_what_is_acknowledged_is_written[append]",
        "Hidden is made inside a function, where the process to be killed cannot find",
    ),
    ("RawErrors", CLOSED, "after close get must raise StorageUnavailable, not ConnectionError('no connection')"),
    ("RawErrors", CLOSED_TOO, "after close append must raise StorageUnavailable, not ConnectionError('no connection')"),
    ("RawErrors", "test_a_taken_key_is_refused", "insert of a taken id must raise Duplicate, not KeyError('a')"),
    ("RawErrors", "test_a_taken_unique_value_is_refused", "insert of a taken login must raise Duplicate, not KeyError(0)"),
    ("RawErrors", "test_update_of_nothing_is_missing", "update of an entity that does not exist must raise Missing, not KeyError(1)"),
    ("RawErrors", "test_update_keeps_unique_values_unique", "update to a taken name must raise Duplicate, not KeyError(2)"),
    ("RawErrors", "test_a_taken_id_is_refused_with_all_that_came_along", "restore of a taken id must raise Duplicate, not KeyError('id')"),
    (
        "RawErrors",
        "test_of_equal_inserts_at_once_one_succeeds",
        "insert raised KeyError(0): a storage must raise StorageError or a subclass",
    ),
    (
        "RawErrors",
        "test_update_command",
        "update_command raised ConnectionError('no connection'): a storage must raise StorageError or a subclass",
    ),
    ("Silent", CLOSED, "after close get must raise StorageUnavailable; it raised nothing"),
    ("Silent", CLOSED_TOO, "after close append must raise StorageUnavailable; it raised nothing"),
    ("Silent", "test_update_of_nothing_is_missing", "update of an entity that does not exist must raise Missing; it raised nothing"),
    ("OwnTexts", "test_case_is_ignored_as_casefold_does[umlaut]", "ignoring case means that str.casefold() of both is equal"),
    ("OwnTexts", "test_accents_are_not_ignored", "only case may be ignored"),
    ("OwnTexts", "test_texts_sort_by_code_point", "name sorts by code point"),
    ("OwnTexts", "test_names_sort_by_code_point", "texts sort by code point"),
    ("OwnTexts", "test_sorting_and_paging", "absent values must come first, then texts by code point"),
    ("OwnTexts", "test_sorting_by_an_absent_value", "absent values must come first, then texts by code point"),
]
"""Contract class, test, and a part of what its author is told."""

ALONE = ("test_entities_outlive_a_restart", f"{RESTARTED}[user]", f"{UNIQUE}[user]", "test_what_is_acknowledged_is_written[insert]")
BEFORE = "Shared::test_append_stamps_in_place"


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory):
    """What came of every test that is named here."""
    refused = [f"{contract}::{test}" for contract, test, _ in REFUSED]
    sound = dict.fromkeys(f"{'SoundCopy' if contract in COPYING else 'Sound'}::{test}" for contract, test, _ in REFUSED)
    others = ["Removing::test_update_command", "Removing::test_does_what_the_model_does", *(f"MessagesAlone::{test}" for test in ALONE)]
    return run_suite("broken_storages", [BEFORE, *refused, *sound, *others], tmp_path_factory.mktemp("suite"))


@pytest.mark.parametrize(("contract", "test", "sentence"), REFUSED, ids=[f"{contract}-{test}" for contract, test, _ in REFUSED])
def test_a_broken_storage_is_refused_with_a_sentence(outcomes, contract, test, sentence):
    assert sentence in outcomes[f"{contract}::{test}"].failures


def test_the_sound_storage_passes_all_that_the_broken_ones_fail(outcomes):
    failures = {test: outcome.failures for test, outcome in outcomes.items() if test.startswith("Sound") and outcome.failures}
    assert failures == {}
    assert not any(outcome.skipped for test, outcome in outcomes.items() if test.startswith("Sound"))


@pytest.mark.parametrize("test", ALONE)
def test_a_provider_of_messages_alone_is_skipped_with_a_reason(outcomes, test):
    assert "a provider of messages alone keeps no entities" in outcomes[f"MessagesAlone::{test}"].skipped


def test_a_closed_storage_is_removed_after_each_test_and_each_example(outcomes):
    assert "closed: True" in outcomes["Removing::test_update_command"].output
    lines = outcomes["Removing::test_does_what_the_model_does"].output.splitlines()
    removed = [line for line in lines if line.startswith("removed")]
    assert len(removed) > 20
    assert all(line.endswith("closed: True") for line in removed)


def test_the_samples_of_entities_have_every_field_of_every_kind():
    assert {type(entity) for entity in ENTITIES} == set(ENTITY_KINDS.values())
    for entity in ENTITIES:
        kind = type(entity)
        required = len(kind.__struct_fields__) - len(kind.__struct_defaults__)
        for field, default in zip(kind.__struct_fields__[required:], kind.__struct_defaults__, strict=True):
            assert getattr(entity, field) != default, f"{kind.__name__}.{field} is as it is by default: nothing shows that it is kept"


def test_no_suite_hides_a_test_of_another():
    defined = Counter(name for suite in Sound.__mro__ for name in vars(suite) if name.startswith("test_"))
    assert [name for name, count in defined.items() if count > 1] == []

"""Which tests of storages are slow: those that compare a storage on a disk with the model, or kill or start it again often."""

import pytest

SLOW = {
    "test_an_entity_comes_back_as_it_went_in",
    "test_any_text_is_kept",
    "test_does_what_the_model_does",
    "test_every_field_outlives_a_restart",
    "test_finds_what_the_model_finds",
    "test_holdings_are_what_is_there",
    "test_restored_messages_are_found_as_the_model_finds_them",
    "test_what_is_acknowledged_is_written",
    "test_what_is_unique_stays_unique_over_a_restart",
}
"""Most are in the suites of ``dhtwisted.testing.storage``, which cannot use a mark of this project."""

IN_MEMORY = "test_memory.py"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if getattr(item, "originalname", None) in SLOW and item.path.name != IN_MEMORY:
            item.add_marker("slow")
            item.add_marker("lowest")

"""Which tests of storages are slow: those that compare a storage on a disk with the model, or kill a process."""

import pytest

SLOW = {
    "test_an_entity_comes_back_as_it_went_in",
    "test_does_what_the_model_does",
    "test_finds_what_the_model_finds",
    "test_holdings_are_what_is_there",
    "test_restored_messages_are_found_as_the_model_finds_them",
    "test_what_is_acknowledged_is_written",
}
"""Names in the suites of ``dhtwisted.testing.storage``, whose authors have no mark of ours."""

IN_MEMORY = "test_memory.py"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if getattr(item, "originalname", None) in SLOW and item.path.name != IN_MEMORY:
            item.add_marker("slow")
            item.add_marker("lowest")

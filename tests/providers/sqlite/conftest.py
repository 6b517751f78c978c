"""Storages in files that a test opens, more than one at a time if it likes."""

import pytest
import pytest_twisted

from dhtwisted.providers.sqlite.storage import FileStorage


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "data.sqlite")


@pytest.fixture
def opened(path, reactor):
    """A function that gives an open storage, of ``path`` or of another file; all are closed at the end of the test."""
    storages = []

    async def open_one(other=None, accepts_loss=False):
        storages.append(FileStorage(str(other or path), reactor))
        if accepts_loss:
            storages[-1].accept_loss()
        await storages[-1].open()
        return storages[-1]

    yield open_one
    for storage in storages:
        pytest_twisted.blockon(storage.close())

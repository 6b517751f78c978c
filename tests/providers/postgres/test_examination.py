"""A database can be examined: the contract. What is found is in ``tests/cli/doctor``."""

import pytest

from dhtwisted.providers.builtin import postgres
from dhtwisted.testing.storage import ExaminableStorageContract
from tests.support.postgres.shared import database_for


class TestPostgresExamination(ExaminableStorageContract):
    provider = postgres

    @pytest.fixture(autouse=True)
    def database_is_there(self, tmp_path):
        database_for(tmp_path)

    def make_argument(self, directory):
        return database_for(directory)

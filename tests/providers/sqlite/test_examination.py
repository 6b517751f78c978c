"""A data file can be examined: the contract. What is found is in ``tests/cli/doctor``."""

from dhtwisted.providers.builtin import file
from dhtwisted.testing.storage import ExaminableStorageContract


class TestFileExamination(ExaminableStorageContract):
    provider = file

    def make_argument(self, directory):
        return str(directory / "data.sqlite")

"""An audit log that is kept in memory."""

import json
from typing import Any

WHO = {"user": 1, "login": "dhadmin", "address": "192.0.2.1", "connection": 1}
"""Members about the client of the fixture ``administrator``."""


class Lines:
    """A file that keeps the records that are written to it, until ``is_full`` is set."""

    def __init__(self) -> None:
        self.records: list[Any] = []
        self.is_full = False

    def write(self, line: str) -> None:
        if self.is_full:
            raise OSError(28, "No space left on device")
        assert line.isascii()
        self.records.append(json.loads(line))

    def close(self) -> None:
        self.records.append("closed")


def about(record: dict[str, Any]) -> dict[str, Any]:
    """A record without the members that all records have in common."""
    return {name: value for name, value in record.items() if name not in {"time", *WHO}}

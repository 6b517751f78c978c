"""An audit log that is kept in memory."""

import json

WHO = {"user": 1, "login": "dhadmin", "address": "192.0.2.1", "connection": 1}
"""Members about the client of the fixture ``administrator``."""


class Lines:
    """A file that keeps what is written, as long as there is room."""

    def __init__(self):
        self.records = []
        self.is_full = False

    def write(self, line):
        if self.is_full:
            raise OSError(28, "No space left on device")
        assert line.isascii()
        self.records.append(json.loads(line))

    def close(self):
        self.records.append("closed")


def about(record):
    """A record without what is the same in all of them."""
    return {name: value for name, value in record.items() if name not in {"time", *WHO}}

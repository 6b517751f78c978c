"""The command ``devicehive status``."""

from __future__ import annotations

from dhtwisted.cli.execution import ServerCommand
from dhtwisted.control import status


class Status(ServerCommand):
    """``devicehive status``."""

    name = "status"
    summary = "show the state of the running server"
    longdesc = "Asks the running server for its state, and writes the answer as one JSON object. The exit status is 1 if no server answers."

    def request(self) -> status.Status:
        return status.Status()

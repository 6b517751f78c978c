"""How an option of a section is declared."""

from __future__ import annotations

from dataclasses import field
from typing import Any

from dhtwisted.config.kinds import Hidden, Kind


def option(default: Any, kind: Kind, reason: str, environment_only: bool = False, reloads: bool = False) -> Any:
    """Declare one option of a section.

    :param reason: one line for the example file.
    :param environment_only: the configuration file must not contain it, because files are copied and shown.
    :param reloads: a running server can change it, see :mod:`dhtwisted.config.reloading`.
    """
    metadata = {"kind": kind, "reason": reason, "environment_only": environment_only, "reloads": reloads}
    return field(default=default, repr=not isinstance(kind, Hidden), metadata=metadata)

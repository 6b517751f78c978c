"""Applies a changed configuration while the server runs: all of it that can be changed, or nothing if it is wrong.

Options that can be changed are declared with ``reloads=True``. The others keep their values until a restart, and the log names those that
were changed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from twisted.logger import Logger

from dhtwisted.config.settings import Settings
from dhtwisted.errors import ConfigurationError


class Reloading:
    """Reads the configuration again, and passes it to all parts of the server.

    :param read_settings: reads the settings as they are configured now; raises ``ConfigurationError``.
    :param settings: the settings of the start.
    :ivar settings: the settings in force.
    :ivar changed: the options that the last reload has changed.
    :ivar reloadables: the parts that apply a change, in this order. Each is a function that checks the new settings and changes nothing;
        it raises ``ConfigurationError`` if they cannot be used. It returns a function that applies them and cannot fail. To make a part of
        the server reloadable, append its function here.
    """

    log = Logger()

    def __init__(self, read_settings: Callable[[], Settings], settings: Settings) -> None:
        self._read_settings = read_settings
        self.settings = settings
        self.changed: list[str] = []
        self.reloadables: list[Callable[[Settings], Callable[[], None]]] = []

    def reload(self) -> bool:
        """Read and apply the configuration, and log the result.

        :returns: whether the configuration was good.
        """
        self.changed = []
        try:
            wanted = self._read_settings()
            settings, changed, unchanged = merge(self.settings, wanted)
            changes = [reloadable(settings) for reloadable in self.reloadables]
        except ConfigurationError as error:
            self.log.error("Not reloaded, all stays as it was: {reason}", reason=" ".join(str(error).split()))
            return False
        self.settings, self.changed = settings, changed
        for change in changes:
            change()
        self.log.info("Reloaded; changed: {options}", options=", ".join(changed) or "no option")
        if unchanged:
            self.log.warn("Restart the server to change {options}; until then the old values hold", options=", ".join(unchanged))
        return True


def merge(present: Settings, wanted: Settings) -> tuple[Settings, list[str], list[str]]:
    """Take from new settings what can be changed without a restart.

    :returns: the settings to apply, the names of the options (``section.key``) that they change, and the names of those that only a restart
        can change.
    """
    sections: dict[str, Any] = {}
    changed: list[str] = []
    unchanged: list[str] = []
    for section in fields(present):
        old, new = getattr(present, section.name), getattr(wanted, section.name)
        different = [option for option in fields(old) if getattr(old, option.name) != getattr(new, option.name)]
        taken = {option.name: getattr(new, option.name) for option in different if option.metadata["reloads"]}
        sections[section.name] = replace(old, **taken)
        for option in different:
            (changed if option.name in taken else unchanged).append(f"{section.name}.{option.name}")
    return replace(present, **sections), changed, unchanged

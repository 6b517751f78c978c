"""A changed configuration, taken on while the server runs: all that can be, or nothing.

Which options can be is said where they are declared, with ``reloads=True``. The others stay as they are until a restart, and the log names
those that were changed in vain.
"""

from dataclasses import fields, replace

from twisted.logger import Logger

from dhtwisted.errors import ConfigurationError


class Reloading:
    """Reads the configuration again, and hands it to all that can change.

    :param read_settings: gives the :class:`~dhtwisted.config.settings.Settings` as they are configured now; raises ``ConfigurationError``.
    :param settings: those of the start.
    :ivar settings: those that hold now.
    :ivar changed: the options that the last reload has changed.
    :ivar reloadables: who takes on a change, in this order. Each is a function of the new settings that raises ``ConfigurationError`` when
        they cannot be used, and changes nothing: it returns a function that does, and cannot fail. To have a part of the server reloaded,
        append its function here.
    """

    log = Logger()

    def __init__(self, read_settings, settings):
        self._read_settings = read_settings
        self.settings = settings
        self.changed = []
        self.reloadables = []

    def reload(self):
        """Do it, and log what came of it.

        :returns: whether the configuration was good.
        """
        self.changed = []
        try:
            wanted = self._read_settings()
            settings, changed, fixed = merge(self.settings, wanted)
            changes = [reloadable(settings) for reloadable in self.reloadables]
        except ConfigurationError as error:
            self.log.error("Not reloaded, all stays as it was: {reason}", reason=" ".join(str(error).split()))
            return False
        self.settings, self.changed = settings, changed
        for change in changes:
            change()
        self.log.info("Reloaded; changed: {options}", options=", ".join(changed) or "no option")
        if fixed:
            self.log.warn("Restart the server to change {options}; until then the old values hold", options=", ".join(fixed))
        return True


def merge(present, wanted):
    """Take from new settings what can be taken on.

    :returns: the settings that shall hold, the names of options (``section.key``) that they change, and the names of those that only a
        restart can change.
    """
    sections, changed, fixed = {}, [], []
    for section in fields(present):
        old, new = getattr(present, section.name), getattr(wanted, section.name)
        different = [option for option in fields(old) if getattr(old, option.name) != getattr(new, option.name)]
        taken = {option.name: getattr(new, option.name) for option in different if option.metadata["reloads"]}
        sections[section.name] = replace(old, **taken)
        for option in different:
            (changed if option.name in taken else fixed).append(f"{section.name}.{option.name}")
    return replace(present, **sections), changed, fixed

"""Which variables of the environment are options, which are mistakes, and which are somebody else's."""

import re
from difflib import get_close_matches

from dhtwisted.errors import ConfigurationError

PREFIX = "DHTWISTED_"
_KUBERNETES = re.compile(r".*_(?:SERVICE_HOST|SERVICE_PORT(?:_.+)?|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)")
_FAMILY = ("DHTWISTED", "DEVICEHIVE_")


class Variables:
    """The variables of the server.

    :param options: section -> key -> option.
    """

    def __init__(self, options):
        self._sections = tuple(options)
        self._options = {f"{PREFIX}{section}_{key}".upper(): (section, key) for section, keys in options.items() for key in keys}

    def given(self, environment):
        """What an environment gives.

        :returns: tuples of variable, section, key and text.
        :raises ConfigurationError: a variable names a section, or nearly, and no option.
        """
        for variable, text in sorted(environment.items()):
            if variable in self._options:
                yield (variable, *self._options[variable], text)
            elif variable.startswith(PREFIX) and self._has_section(variable) and not _is_of_kubernetes(variable, text):
                raise ConfigurationError(f"{variable}: is no option; {self._instead(variable)}")

    def strangers(self, environment):
        """Name what is left out and looks as if it were meant for the server.

        :returns: a tuple of lines.
        """
        return tuple(
            f"{variable}: is no option of the server, and is left out; {self._instead(variable)}"
            for variable, text in sorted(environment.items())
            if self._looks_like_one(variable) and variable not in self._options and not _is_of_kubernetes(variable, text)
        )

    def _has_section(self, variable):
        section = variable.removeprefix(PREFIX).lower().partition("_")[0]
        return bool(get_close_matches(section, self._sections, n=1, cutoff=0.85))

    def _looks_like_one(self, variable):
        name = variable.upper()
        return name.startswith(_FAMILY[0]) or (name.startswith(_FAMILY[1]) and PREFIX + name.removeprefix(_FAMILY[1]) in self._options)

    def _instead(self, variable):
        name = re.sub(r"_+", "_", variable.upper())
        for family in _FAMILY:
            name = name.removeprefix(family)
        name = PREFIX + name.lstrip("_")
        tails = [known for known in self._options if known.endswith(name.removeprefix(PREFIX[:-1]))]
        near = tails or get_close_matches(name, self._options, n=1, cutoff=0.75)
        return f"did you mean {near[0]}?" if near else f"the form is {PREFIX}<SECTION>_<KEY>, and devicehive --example-config lists all"


def _is_of_kubernetes(variable, text):
    """Whether Kubernetes has set it for a service that is named ``dhtwisted`` or, say, ``dhtwisted-metrics``."""
    return _KUBERNETES.fullmatch(variable) is not None or (variable.endswith("_PORT") and "://" in text)

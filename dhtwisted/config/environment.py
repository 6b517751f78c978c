"""Which variables of the environment are options, which are mistakes, and which belong to other programs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches

from dhtwisted.errors import ConfigurationError

PREFIX = "DHTWISTED_"
_KUBERNETES = re.compile(r".*_(?:SERVICE_HOST|SERVICE_PORT(?:_.+)?|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)")
_FAMILY = ("DHTWISTED", "DEVICEHIVE_")


class Variables:
    """The variables of the server.

    :param options: section -> key -> option.
    """

    def __init__(self, options: Mapping[str, Mapping[str, object]]) -> None:
        self._sections = tuple(options)
        self._options = {f"{PREFIX}{section}_{key}".upper(): (section, key) for section, keys in options.items() for key in keys}

    def given(self, environment: Mapping[str, str]) -> Iterator[tuple[str, str, str, str]]:
        """The options that an environment sets.

        :returns: tuples of variable, section, key and text.
        :raises ConfigurationError: a variable names a section, exactly or nearly, but no option.
        """
        for variable, text in sorted(environment.items()):
            if variable in self._options:
                yield (variable, *self._options[variable], text)
            elif variable.startswith(PREFIX) and self._has_section(variable) and not _is_of_kubernetes(variable, text):
                raise ConfigurationError(f"{variable}: is no option; {self._suggestion(variable)}")

    def unknown(self, environment: Mapping[str, str]) -> tuple[str, ...]:
        """A line for each variable that looks like an option but is none."""
        return tuple(
            f"{variable}: is no option of the server, and is ignored; {self._suggestion(variable)}"
            for variable, text in sorted(environment.items())
            if self._looks_like_option(variable) and variable not in self._options and not _is_of_kubernetes(variable, text)
        )

    def _has_section(self, variable: str) -> bool:
        section = variable.removeprefix(PREFIX).lower().partition("_")[0]
        return bool(get_close_matches(section, self._sections, n=1, cutoff=0.85))

    def _looks_like_option(self, variable: str) -> bool:
        name = variable.upper()
        return name.startswith(_FAMILY[0]) or (name.startswith(_FAMILY[1]) and PREFIX + name.removeprefix(_FAMILY[1]) in self._options)

    def _suggestion(self, variable: str) -> str:
        name = re.sub(r"_+", "_", variable.upper())
        for family in _FAMILY:
            name = name.removeprefix(family)
        name = PREFIX + name.lstrip("_")
        tails = [known for known in self._options if known.endswith(name.removeprefix(PREFIX[:-1]))]
        near = tails or get_close_matches(name, self._options, n=1, cutoff=0.75)
        return f"did you mean {near[0]}?" if near else f"the form is {PREFIX}<SECTION>_<KEY>, and devicehive --example-config lists all"


def _is_of_kubernetes(variable: str, text: str) -> bool:
    """Whether Kubernetes has set it, for a service named ``dhtwisted`` or such as ``dhtwisted-metrics``."""
    return _KUBERNETES.fullmatch(variable) is not None or (variable.endswith("_PORT") and "://" in text)

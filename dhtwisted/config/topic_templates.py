"""Texts with placeholders, as options of MQTT have them: ``tele/{deviceId}/{name}``, ``plant-{1}``, ``cmnd/{login}/#``."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

from dhtwisted.config.suggestions import suggestion

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


@dataclass(frozen=True)
class Template:
    """A text with placeholders.

    :ivar text: as the configuration has it.
    """

    text: str

    @cached_property
    def placeholders(self) -> tuple[str, ...]:
        """The names in braces, in their order."""
        return tuple(_PLACEHOLDER.findall(self.text))

    @cached_property
    def literal(self) -> str:
        """The text without its placeholders."""
        return _PLACEHOLDER.sub("", self.text)

    @cached_property
    def expression(self) -> re.Pattern[str]:
        """Matches the texts of this form. A placeholder stands for one character or more, but for no slash. The groups are in the order of
        :attr:`placeholders`."""
        parts = _PLACEHOLDER.split(self.text)
        return re.compile("".join("([^/]+)" if index % 2 else re.escape(part) for index, part in enumerate(parts)))

    def fill(self, values: Mapping[str, str]) -> str:
        """Put values for the placeholders."""
        return _PLACEHOLDER.sub(lambda match: values[match[1]], self.text)

    def read(self, text: str) -> dict[str, str] | None:
        """The values of the placeholders with which :meth:`fill` makes this text; ``None`` if there are none."""
        match = self.expression.fullmatch(text)
        return None if match is None else dict(zip(self.placeholders, match.groups(), strict=True))


def checked_template(text: str, known: Collection[str]) -> Template:
    """Check the braces of a text.

    :param known: the placeholders that it may have.
    :raises ValueError: it has others, or a brace without its pair. The text continues a sentence that begins with the text.
    """
    template = Template(text)
    if "{" in template.literal or "}" in template.literal:
        raise ValueError("has a brace without its pair")
    for name in template.placeholders:
        if name not in known:
            raise ValueError(f"has the unknown placeholder {{{name}}}; {suggestion(name, known)}")
    return template

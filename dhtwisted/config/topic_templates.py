"""Texts with placeholders, as options of MQTT have them: ``tele/{deviceId}/{name}``, ``plant-{1}``, ``cmnd/{login}/#``.

``{name}`` stands for one level of a topic or a part of it, ``{name...}`` for one level or several.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

from dhtwisted.config.suggestions import suggestion

_PLACEHOLDER = re.compile(r"\{([^{}]*?)(\.\.\.)?\}")
_ONE, _SEVERAL = "([^/]+)", "([^/]+(?:/[^/]+)*)"


@dataclass(frozen=True)
class Template:
    """A text with placeholders.

    :ivar text: as the configuration has it.
    """

    text: str

    @cached_property
    def placeholders(self) -> tuple[str, ...]:
        """The names in braces, in their order, without ``...``."""
        return tuple(name for name, _ in _PLACEHOLDER.findall(self.text))

    @cached_property
    def several(self) -> tuple[str, ...]:
        """Those of them that stand for one level or several."""
        return tuple(name for name, dots in _PLACEHOLDER.findall(self.text) if dots)

    @cached_property
    def literal(self) -> str:
        """The text without its placeholders."""
        return _PLACEHOLDER.sub("", self.text)

    @cached_property
    def expression(self) -> re.Pattern[str]:
        """Matches the texts of this form. A placeholder stands for one character or more, but for no slash, or for levels that are not
        empty. The groups are in the order of :attr:`placeholders`."""
        parts, end = [], 0
        for found in _PLACEHOLDER.finditer(self.text):
            parts += [re.escape(self.text[end : found.start()]), _SEVERAL if found[2] else _ONE]
            end = found.end()
        return re.compile("".join([*parts, re.escape(self.text[end:])]))

    def fill(self, values: Mapping[str, str]) -> str:
        """Put values for the placeholders."""
        return _PLACEHOLDER.sub(lambda match: values[match[1]], self.text)

    def read(self, text: str) -> dict[str, str] | None:
        """The values of the placeholders with which :meth:`fill` makes this text; ``None`` if there are none."""
        match = self.expression.fullmatch(text)
        return None if match is None else dict(zip(self.placeholders, match.groups(), strict=True))

    def with_several(self, names: Collection[str]) -> Template:
        """The same form, in which these placeholders stand for several levels."""
        return Template(_PLACEHOLDER.sub(lambda found: f"{{{found[1]}...}}" if found[1] in names else found[0], self.text))


def checked_template(text: str, known: Collection[str], has_several: bool = False) -> Template:
    """Check the braces of a text.

    :param known: the placeholders that it may have.
    :param has_several: whether they may stand for several levels.
    :raises ValueError: it has others, or a brace without its pair. The text continues a sentence that begins with the text.
    """
    template = Template(text)
    if "{" in template.literal or "}" in template.literal:
        raise ValueError("has a brace without its pair")
    for name in template.placeholders:
        if name not in known:
            raise ValueError(f"has the unknown placeholder {{{name}}}; {suggestion(name, known)}")
    for name in () if has_several else template.several:
        raise ValueError(f"has {{{name}...}}, which only the topic of a mapping can have; write {{{name}}}")
    return template

"""The lines that the doctor writes."""

from dataclasses import dataclass

from dhtwisted import model

OK, WARNING, WRONG = "ok", "warning", "wrong"


@dataclass(frozen=True)
class Finding:
    """One line.

    :ivar level: :data:`OK`; :data:`WARNING` for what works but should be changed; :data:`WRONG` for what keeps the server from starting,
        or from keeping its promises.
    :ivar topic: what was examined, in a word or two.
    :ivar text: what was found, and after a semicolon what to do.
    """

    level: str
    topic: str
    text: str

    def __str__(self) -> str:
        text = " ".join(self.text.split())
        return f"{self.level:<8} {self.topic}: {text if text.isprintable() else ascii(text)}"


def ok(topic: str, text: str) -> Finding:
    """All is well."""
    return Finding(OK, topic, text)


def warning(topic: str, text: str) -> Finding:
    """It works, but should be changed."""
    return Finding(WARNING, topic, text)


def wrong(topic: str, text: str) -> Finding:
    """It does not work, or it does not do what it promises."""
    return Finding(WRONG, topic, text)


def by_provider(role: str, finding: model.Finding) -> Finding:
    """Make a line of what a provider found.

    :param role: the topic of a finding that has none.
    """
    return Finding(finding.level, finding.topic or role, f"{finding.sentence}; {finding.cure}" if finding.cure else finding.sentence)

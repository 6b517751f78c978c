"""What the doctor finds: a line each."""

from dataclasses import dataclass

from dhtwisted import model

OK, WARNING, WRONG = "ok", "warning", "wrong"


@dataclass(frozen=True)
class Finding:
    """One line.

    :ivar level: :data:`OK`; :data:`WARNING` for what works and should be otherwise; :data:`WRONG` for what keeps the server from starting,
        or its promises from being kept.
    :ivar topic: what was looked at, a word or two.
    :ivar text: what was found, and after a semicolon how to mend it.
    """

    level: str
    topic: str
    text: str

    def __str__(self):
        text = " ".join(self.text.split())
        return f"{self.level:<8} {self.topic}: {text if text.isprintable() else ascii(text)}"


def ok(topic, text):
    """All is well."""
    return Finding(OK, topic, text)


def warning(topic, text):
    """It works, and should be otherwise."""
    return Finding(WARNING, topic, text)


def wrong(topic, text):
    """It does not work, or not as promised."""
    return Finding(WRONG, topic, text)


def by_provider(role: str, finding: model.Finding) -> Finding:
    """What a provider found, as a line.

    :param role: the topic of a finding that has none.
    """
    return Finding(finding.level, finding.topic or role, f"{finding.sentence}; {finding.cure}" if finding.cure else finding.sentence)

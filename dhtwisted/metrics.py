"""What a server counts for its operator, and the Prometheus text format (0.0.4). Counting is one addition; all else is done at a scrape."""

from collections import Counter


class Metrics:
    """Counters of one server.

    :ivar refusals: name of an option of ``[limits]`` -> how often it has refused something.
    """

    def __init__(self):
        self.refusals = Counter()

    def refused(self, limit):
        """Count a refusal.

        :param limit: the option of ``[limits]``, such as ``connections``.
        """
        self.refusals[limit] += 1


def family(name, kind, text, samples):
    """Render one metric.

    :param kind: ``counter`` or ``gauge``.
    :param samples: pairs of labels, a dict of texts, and a number.
    :returns: its lines, each with its end.
    """
    lines = [f"# HELP {name} {text}\n", f"# TYPE {name} {kind}\n"]
    for labels, value in samples:
        inner = ",".join(f'{label}="{_escape(content)}"' for label, content in labels.items())
        lines.append(f"{name}{{{inner}}} {value}\n" if inner else f"{name} {value}\n")
    return "".join(lines)


def _escape(text):
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')

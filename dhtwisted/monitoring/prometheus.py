"""The Prometheus text format (0.0.4)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dhtwisted.kit.statistics import Histogram


Samples = Iterable[tuple[dict[str, str], float]]


def family(name: str, kind: str, text: str, samples: Samples) -> str:
    """Render one metric.

    :param kind: ``counter`` or ``gauge``.
    :param samples: pairs of labels and a number.
    :returns: its lines, each with its line end.
    """
    lines = [f"# HELP {name} {text}\n", f"# TYPE {name} {kind}\n"]
    for labels, value in samples:
        inner = ",".join(f'{label}="{_escape(content)}"' for label, content in labels.items())
        lines.append(f"{name}{{{inner}}} {value}\n" if inner else f"{name} {value}\n")
    return "".join(lines)


def histograms(name: str, text: str, samples: Iterable[tuple[dict[str, str], Histogram]]) -> str:
    """Render one histogram metric.

    :param samples: pairs of labels and a :class:`~dhtwisted.kit.statistics.Histogram`.
    :returns: its lines, each with its line end.
    """
    lines = [f"# HELP {name} {text}\n", f"# TYPE {name} histogram\n"]
    for labels, histogram in samples:
        inner = "".join(f'{label}="{_escape(content)}",' for label, content in labels.items())
        total = 0
        for bound, count in zip((*histogram.bounds, "+Inf"), histogram.counts, strict=True):
            total += count
            lines.append(f'{name}_bucket{{{inner}le="{bound}"}} {total}\n')
        lines += [f"{name}_sum{{{inner[:-1]}}} {histogram.sum}\n", f"{name}_count{{{inner[:-1]}}} {total}\n"]
    return "".join(lines)


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')

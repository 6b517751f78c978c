"""From what the rounds measured to how much each cost grows: the table, the page and the data."""

import json
from dataclasses import dataclass
from statistics import median

from bench.figures import Missing, NoFigure
from bench.manual import manual
from bench.report import number


@dataclass(frozen=True)
class Measure:
    """Something that is measured at each size.

    :ivar name: how tasks call it.
    :ivar most: how many times its value at the smallest size it may be at the largest; ``None``: it is only for information.
    """

    name: str
    title: str
    unit: str
    most: float | None = None
    aim: float | None = None


@dataclass(frozen=True)
class Side:
    """What grows together.

    :ivar kind: first word of the tasks; the size is the second.
    :ivar counted: what there are more and more of.
    """

    kind: str
    title: str
    counted: str
    measures: tuple[Measure, ...]


_INSERT = Measure("insert", "an insert with its delivery", "us", 1.2, 1.05)
_STORED = (
    _INSERT,
    Measure("newest", "list of the newest 100 of a device", "us", 1.2, 1.05),
    Measure("replay", "replay of 1,000 from far back", "us"),
    Measure("expiry", "deletion of an old message", "us"),
    Measure("start", "start of the server", "s"),
    Measure("bytes", "space on disk per message", "bytes"),
)
SIDES = (
    Side(
        "connections",
        "Connections that do nothing, memory",
        "connections",
        (
            Measure("message", _INSERT.title, "us", 1.2, 1.05),
            Measure("memory", "memory per connection", "KB", 1.1, 1.05),
            Measure("open", "opening one, with authentication and subscription", "us", 1.2, 1.05),
            Measure("idle", "a second of one that does nothing", "us", 1.2, 1.05),
        ),
    ),
    Side("file", "Stored messages, file", "messages", _STORED),
    Side("postgres", "Stored messages, PostgreSQL", "messages", _STORED),
)


@dataclass(frozen=True)
class Line:
    """A measure with its medians.

    :ivar values: size -> median over the rounds.
    :ivar ratio: the median of the ratios of each round, of the largest size to the smallest.
    :ivar problem: why there are no values; else empty.
    :ivar failed: whether that is a loss or a failure, and not only something that is not installed.
    """

    measure: Measure
    values: dict
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    problem: str = ""
    failed: bool = False

    @property
    def verdict(self):
        """Whether it grows as little as it should; empty where that is not asked."""
        if self.ratio is None or self.measure.most is None:
            return ""
        return "aim" if self.ratio <= self.measure.aim else "yes" if self.ratio <= self.measure.most else "NO"


def lines_of(side, sizes, results):
    """Work out all measures of a side.

    :param sizes: ascending.
    :param results: a :class:`~bench.figures.Results` of tasks such as ``file 100000``.
    """
    return [_line(side, measure, sizes, results) for measure in side.measures]


def _line(side, measure, sizes, results):
    try:
        series = {size: results.series(f"{side.kind} {size}", measure.name) for size in sizes}
    except NoFigure as problem:
        return Line(measure, {}, problem=str(problem), failed=not isinstance(problem, Missing))
    first, last = series[sizes[0]], series[sizes[-1]]
    ratios = [last[round_] / first[round_] for round_ in first.keys() & last.keys()]
    values = {size: median(found.values()) for size, found in series.items()}
    return Line(measure, values, median(ratios), min(ratios), max(ratios))


def table(side, sizes, lines):
    """The lines of a table in Markdown."""
    yield f"| {side.title} | {' | '.join(f'{size:,}' for size in sizes)} | ratio | min - max | at most | aim | reached |"
    yield f"|{' --- |' * (len(sizes) + 6)}"
    for line in lines:
        measure = line.measure
        cells = [f"{number(line.values[size])} {measure.unit}" if line.values else "no figure" for size in sizes]
        spread = [number(line.ratio), f"{number(line.low)} - {number(line.high)}"] if line.values else ["", ""]
        targets = ["", ""] if measure.most is None else [f"{measure.most:g}", f"{measure.aim:g}"]
        yield f"| {' | '.join([measure.title, *cells, *spread, *targets, line.verdict])} |"
    for problem in dict.fromkeys(line.problem for line in lines if line.problem):
        yield ""
        yield f"No figures: {problem}"


def page(tables, described, notes, directory=None):
    """The whole page as lines of Markdown.

    :param tables: ``(side, lines of its table)``.
    :param directory: of the page; ``None`` if it is only shown.
    """
    yield "# What grows with connections and stored messages"
    yield ""
    yield f"`python -m bench.growth` wrote this page. {manual(directory, '#growth')} explains it."
    for side, lines in tables:
        yield ""
        yield from lines
        yield ""
        yield f"![{side.title}](growth-{side.kind}.svg)"
    yield ""
    yield from (f"- {name}: {text}" for name, text in described.items())
    yield ""
    yield from (f"- {note}" for note in notes)


def as_json(found, described, notes, results):
    """Everything that is known, as text.

    :param found: ``(side, its lines)``.
    """
    sides = {
        side.kind: {
            line.measure.name: {"unit": line.measure.unit, "values": line.values, "ratio": line.ratio, "min": line.low, "max": line.high}
            for line in lines
        }
        for side, lines in found
    }
    return json.dumps({"machine": described, "notes": notes, "sides": sides, "runs": results.as_data()}, indent=1) + "\n"

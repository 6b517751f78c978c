"""The table, for a terminal and as Markdown, and everything as JSON."""

import json
from statistics import median

from bench.figures import BEYOND, MISSED, REACHED
from bench.manual import manual

HEADINGS = ("row", "this server", "compared with", "ratio", "min - max", "by CPU", "at least", "aim", "reached")
MARKS = {BEYOND: "aim", REACHED: "yes", MISSED: "NO", "": ""}
BUSY = 0.95
"""Share of a core above which the generator may have been the limit."""

KEPT_UP = 0.95
"""Share of what was asked for above which a side kept up with a steady rate."""

_LESS = "<= "


def cells(figure):
    """The texts of a line, one for each of :data:`HEADINGS`. Without a figure there is no number among them."""
    row = figure.row
    targets = [_target(row, row.at_least), _target(row, row.aim)]
    if figure.problem:
        return [row.key, "no figure", "", "", "", "", *targets, ""]
    return [
        row.key,
        f"{number(figure.value)} {row.unit}",
        f"{number(figure.other)} {row.peer}" if row.against else "",
        number(figure.ratio) if row.against else "",
        f"{number(figure.low)} - {number(figure.high)}",
        number(figure.by_cpu) if figure.by_cpu is not None else "",
        *targets,
        MARKS[figure.verdict],
    ]


def _target(row, value):
    return "" if value is None else f"{_LESS if row.less else ''}{value:g}{'' if row.against else f' {row.unit}'}"


def number(value):
    """Write a number with three digits that count, thousands apart."""
    if value >= 1000:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2 if value >= 0.1 else 3}f}"


def table(figures):
    """All figures as lines for a terminal, in columns; below them what they mean, and why some are missing."""
    lines = [list(HEADINGS), *map(cells, figures)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADINGS))]
    text = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    text.insert(1, "  ".join("-" * width for width in widths))
    return [*text, "", *legend(figures), *problems(figures)]


def markdown(figures, machine, notes, directory=None):
    """The same as a page.

    :param directory: of the page.
    """
    yield "# Results of the benchmark"
    yield ""
    yield f"`python -m bench` wrote this page. {manual(directory)} explains each row and column."
    yield ""
    yield f"| {' | '.join(['', *HEADINGS[1:]])} |"
    yield f"|{' --- |' * len(HEADINGS)}"
    for figure in figures:
        yield f"| {' | '.join([f'{figure.row.title} (`{figure.row.key}`)', *cells(figure)[1:]])} |"
    yield ""
    yield "![Ratios and times, with their targets](benchmark.svg)"
    yield ""
    yield from (f"- {name}: {text}" for name, text in machine.items())
    if notes:
        yield ""
        yield from (f"- {note}" for note in notes)
    if found := list(problems(figures)):
        yield ""
        yield from (f"- {line}" for line in found)


def legend(figures):
    """What each row is, a line each."""
    width = max((len(figure.row.key) for figure in figures), default=0)
    return [f"{figure.row.key.ljust(width)}  {figure.row.title}" for figure in figures]


def problems(figures):
    """Why rows have no figure, a line each."""
    return [f"{figure.row.key}: {figure.problem}" for figure in figures if figure.problem]


def as_json(figures, machine, notes, sizes, results):
    """Everything that is known, as text: figures as in the table, and what each run measured."""
    rows = [
        {
            "key": figure.row.key,
            "title": figure.row.title,
            "unit": figure.row.unit,
            "value": figure.value,
            "beside": figure.row.peer or None,
            "other": figure.other,
            "ratio": figure.ratio,
            "min": figure.low,
            "max": figure.high,
            "by_cpu": figure.by_cpu,
            "rounds": figure.rounds,
            "at_least": figure.row.at_least,
            "aim": figure.row.aim,
            "less_is_better": figure.row.less,
            "reached": figure.verdict or None,
            "problem": figure.problem or None,
        }
        for figure in figures
    ]
    data = {"machine": machine, "notes": notes, "sizes": sizes, "rows": rows, "runs": results.as_data()}
    return json.dumps(data, indent=1) + "\n"


def left_behind(figures, results):
    """Name the sides that did not keep up with a steady rate, a line each: their delays are as long as the run."""
    seen = set()
    for figure in figures:
        for task in figure.row.tasks:
            shares = [outcome["inserts"] / outcome["asked"] for outcome in results.measured(task) if "asked" in outcome]
            if shares and median(shares) < KEPT_UP and task not in seen:
                seen.add(task)
                yield f"{task}: did {median(shares):.0%} of the requests in time, so its delays grow with the length of the run."


def busy_generator(figures, results):
    """Name the rows whose figure may be that of the generator, since its core was full: lower bounds, a line each."""
    for figure in figures:
        shares = [outcome.get("generator cpu", 0) for outcome in results.measured(figure.row.task)]
        # In an open loop it watches the clock, and is always busy.
        if not figure.problem and figure.row.unit != "ms" and shares and min(shares) > BUSY:
            yield f"{figure.row.key}: the load generator was the limit; the server can do more."

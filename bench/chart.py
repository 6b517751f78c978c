"""A picture of the figures: bars for ratios and times, with marks at their targets."""

from html import escape
from math import log2

from bench.figures import BEYOND, MISSED, REACHED
from bench.report import number

WIDTH, LABELS, RIGHT, LINE, BAR = 1080, 450, 110, 28, 14
HEAD, FOOT, BETWEEN = 68, 40, 44
LEFT, LONG = LABELS + 20, WIDTH - LABELS - 20 - RIGHT

STYLE = """
.page{fill:#ffffff;stroke:#d0d7de} text{font:13px system-ui,sans-serif;fill:#1f2328} .small{font-size:11px;fill:#59636e}
.title{font-size:16px;font-weight:600} .axis{stroke:#d0d7de} .one{stroke:#59636e} .at{stroke:#1f2328;stroke-width:2.5} .aim{fill:#1f2328}
.spread{stroke:#1f2328;stroke-opacity:.55;stroke-width:1.5}
.b-aim{fill:#2da44e} .b-yes{fill:#54aeff} .b-no{fill:#e16f24} .b-none{fill:#8c959f}
@media (prefers-color-scheme: dark){
.page{fill:#0d1117;stroke:#3d444d} text{fill:#f0f6fc} .small{fill:#9198a1} .axis{stroke:#3d444d} .one{stroke:#9198a1} .at{stroke:#f0f6fc}
.aim{fill:#f0f6fc} .spread{stroke:#f0f6fc} .b-aim{fill:#3fb950} .b-yes{fill:#4493f8} .b-no{fill:#f0883e} .b-none{fill:#656c76}}
"""
COLOURS = {BEYOND: "b-aim", REACHED: "b-yes", MISSED: "b-no", "": "b-none"}
_MOST_DOUBLINGS = 9
LEGEND = (("b-aim", "aim reached"), ("b-yes", "at least reached"), ("b-no", "missed"))


def chart(figures, title):
    """Draw it.

    :param figures: those without a number are left out, and those without a target: their scale would be their own.
    :returns: SVG, for light and dark pages.
    """
    known = [figure for figure in figures if not figure.problem and figure.row.at_least is not None]
    panels = [
        ("ratio to the other side; less is better where marked <", [figure for figure in known if figure.row.against]),
        ("milliseconds; less is better", [figure for figure in known if not figure.row.against]),
    ]
    panels = [Panel(text, chosen) for text, chosen in panels if chosen]
    top = HEAD
    body = []
    for panel in panels:
        body += panel.draw(top)
        top += panel.height + BETWEEN
    height = top + FOOT - BETWEEN + 16
    begin = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" role="img">'
    page = f'<rect class="page" x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>'
    heading = _text(20, 32, title, "title")
    return "\n".join(
        [begin, f"<title>{escape(title)}</title><style>{STYLE}</style>", page, heading, *body, *_legend(height - 22), "</svg>", ""]
    )


class Panel:
    """Bars on one logarithmic axis."""

    def __init__(self, text, figures):
        self.text = text
        self.figures = figures
        self.height = LINE * len(figures) + 30
        values = [
            value for figure in figures for value in (*_span(figure), figure.row.at_least * _scale(figure), figure.row.aim * _scale(figure))
        ]
        self._low, self._high = log2(min(*values, 1)) - 0.3, log2(max(*values, 1)) + 0.3
        base = 2.0 if self._high - self._low < _MOST_DOUBLINGS else 10.0
        self._ticks = [base**power for power in range(-60, 60) if self._low <= log2(base) * power <= self._high]

    def draw(self, top):
        """Elements of the picture.

        :param top: where it begins.
        """
        bottom = top + LINE * len(self.figures)
        yield _text(LEFT, top - 8, self.text, "small")
        for value in self._ticks:
            x = self._x(value)
            yield f'<line class="{"one" if value == 1 else "axis"}" x1="{x:.1f}" y1="{top}" x2="{x:.1f}" y2="{bottom}"/>'
            yield _text(x, bottom + 16, f"{value:,g}", "small", "middle")
        for place, figure in enumerate(self.figures):
            yield from self._bar(figure, top + LINE * place + LINE / 2)

    def _bar(self, figure, y):
        scale, row = _scale(figure), figure.row
        value = figure.judged * scale
        # A ratio goes away from 1, a time from the edge.
        begin, end = sorted((self._x(1) if row.against else LEFT, self._x(value)))
        low, high = map(self._x, _span(figure))
        at_least, aim = self._x(row.at_least * scale), self._x(row.aim * scale)
        yield _text(LABELS, y + 4, _label(row), "", "end")
        width = max(end - begin, 1.5)
        yield f'<rect class="{COLOURS[figure.verdict]}" x="{begin:.1f}" y="{y - BAR / 2}" width="{width:.1f}" height="{BAR}" rx="2"/>'
        yield f'<line class="spread" x1="{low:.1f}" y1="{y}" x2="{high:.1f}" y2="{y}"/>'
        yield f'<line class="at" x1="{at_least:.1f}" y1="{y - 10}" x2="{at_least:.1f}" y2="{y + 10}"/>'
        yield f'<path class="aim" d="M{aim:.1f} {y - 6}l6 6l-6 6l-6 -6z"/>'
        yield _text(WIDTH - RIGHT + 16, y + 4, number(value) + ("" if row.against else " ms"))

    def _x(self, value):
        return LEFT + (log2(value) - self._low) / (self._high - self._low) * LONG


def _label(row):
    if not row.against:
        return row.title
    return f"{row.title} / {row.peer.partition(',')[0].removesuffix(' QoS 1').removesuffix(' echo')}{' <' if row.less else ''}"


def _scale(figure):
    """Times are shown in milliseconds."""
    return 1000 if figure.row.unit == "s" else 1


def _span(figure):
    return figure.low * _scale(figure), figure.high * _scale(figure)


def _text(x, y, text, kind="", anchor="start"):
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _legend(y):
    x = 20
    for kind, text in LEGEND:
        yield f'<rect class="{kind}" x="{x}" y="{y - 10}" width="12" height="12" rx="2"/>'
        yield _text(x + 18, y, text, "small")
        x += 130
    yield f'<line class="at" x1="{x}" y1="{y - 12}" x2="{x}" y2="{y + 4}"/>'
    yield _text(x + 10, y, "at least", "small")
    yield f'<path class="aim" d="M{x + 80} {y - 10}l6 6l-6 6l-6 -6z"/>'
    yield _text(x + 92, y, "aim", "small")
    yield f'<line class="spread" x1="{x + 140}" y1="{y - 4}" x2="{x + 164}" y2="{y - 4}"/>'
    yield _text(x + 172, y, "least to greatest of the rounds", "small")

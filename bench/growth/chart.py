"""A picture of what grows: for each cost a bar for each size, beside its value at the smallest size."""

from html import escape

from bench.chart import STYLE
from bench.report import number

WIDTH, LABELS, RIGHT, BAR, BETWEEN, HEAD, FOOT = 1080, 400, 130, 12, 16, 64, 44
LEFT, LONG = LABELS + 20, WIDTH - LABELS - 20 - RIGHT
COLOURS = {"aim": "b-aim", "yes": "b-yes", "NO": "b-no", "": "b-none"}


def chart(side, sizes, lines):
    """Draw one side.

    :param lines: of :func:`~bench.growth.report.lines_of`; those without values are left out.
    :returns: SVG, for light and dark pages.
    """
    lines = [line for line in lines if line.values]
    scale = _scale(sizes, lines)
    body, y = [], HEAD
    for line in lines:
        body += _bars(line, sizes, y, scale)
        y += BAR * len(sizes) + BETWEEN
    height = y + FOOT
    begin = f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" role="img">'
    frame = f'<rect class="page" x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>'
    sizes_text = ", ".join(f"{size:,}" for size in sizes)
    heading = [_text(20, 32, side.title, "title"), _text(LEFT, 32, f"at {sizes_text} {side.counted}, from above", "small")]
    foot = [
        f'<line class="at" x1="20" y1="{height - 30}" x2="20" y2="{height - 14}"/>',
        _text(30, height - 18, "what the largest may have, where there is a limit; less is better", "small"),
    ]
    title = f"<title>{escape(side.title)}</title><style>{STYLE}</style>"
    return "\n".join([begin, title, frame, *heading, *body, *foot, "</svg>", ""])


def _scale(sizes, lines):
    """Pixels of a bar that is as long as that of the smallest size."""
    most = max((max(max(line.values.values()) / line.values[sizes[0]], line.measure.most or 1) for line in lines), default=1)
    return LONG / most


def _bars(line, sizes, y, scale):
    first = line.values[sizes[0]]
    yield _text(LABELS, y + BAR * len(sizes) / 2 + 4, line.measure.title, "", "end")
    for place, size in enumerate(sizes):
        width, top = max(line.values[size] / first * scale, 1.5), y + BAR * place
        kind = COLOURS[line.verdict] if place == len(sizes) - 1 else "b-none"
        yield f'<rect class="{kind}" x="{LEFT}" y="{top}" width="{width:.1f}" height="{BAR - 2}" rx="2"/>'
        yield _text(LEFT + width + 8, top + 9, f"{number(line.values[size])} {line.measure.unit}", "small")
    if line.measure.most is not None:
        x, bottom = LEFT + line.measure.most * scale, y + BAR * len(sizes)
        yield f'<line class="at" x1="{x:.1f}" y1="{bottom - BAR - 3}" x2="{x:.1f}" y2="{bottom + 1}"/>'


def _text(x, y, text, kind="", anchor="start"):
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'

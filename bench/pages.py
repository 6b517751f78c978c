"""Result pages that are kept: a directory for each kind of processor, and a page that lists them."""

import json
import re
from collections import Counter
from pathlib import Path

from bench.figures import BEYOND, MISSED, REACHED
from bench.manual import manual

DATA, PICTURE, PAGE = "benchmark.json", "benchmark.svg", "README.md"
GROWTH = "growth.md"


def save_pages(directory, processor, data, picture, make_page):
    """Write the results of this machine, in the place of earlier ones of such a processor; those of others stay.

    :param directory: for all of them.
    :param processor: its name, as in what describes the machine.
    :param data: everything as JSON.
    :param picture: the chart, SVG.
    :param make_page: makes the table, Markdown, from the directory of its page.
    """
    place = Path(directory) / kind_of(processor)
    place.mkdir(parents=True, exist_ok=True)
    for name, text in ((DATA, data), (PICTURE, picture), (PAGE, make_page(place))):
        (place / name).write_text(text)
    write_index(directory)


def kind_of(processor):
    """What the directory of a processor is called, such as ``intel-xeon-platinum-8481c``.

    :param processor: as in what describes the machine; the number of cores and the frequency do not count.
    """
    model = re.sub(r", \d+ cores$|\(r\)|\(tm\)|@.*|\bcpu\b|\bprocessor\b|\b\d+-core\b", " ", processor.lower())
    return "-".join(re.findall(r"[a-z0-9]+", model)) or "unknown"


def write_index(directory):
    """Write the page that lists all results in a directory."""
    found = [(path.parent.name, json.loads(path.read_text())) for path in sorted(Path(directory).glob(f"*/{DATA}"))]
    has_growth = (Path(directory) / GROWTH).exists()
    (Path(directory) / PAGE).write_text("\n".join(_index(found, has_growth, manual(directory))) + "\n")


def _index(found, has_growth, explanation):
    yield "# Results of the benchmark"
    yield ""
    yield "`python -m bench --save DIRECTORY` wrote this page, and one for each kind of processor. A run replaces that of its own only."
    yield f"{explanation} explains each row and column."
    yield ""
    yield "| processor | date | dhtwisted | Python | aim | at least | missed | no figure |"
    yield f"|{' --- |' * 8}"
    for name, data in found:
        machine = data["machine"]
        parts = [machine.get(part, "") for part in ("date", "dhtwisted", "Python")]
        cells = [f"[{machine['processor']}]({name}/{PAGE})", *parts, *map(str, _counts(data["rows"]))]
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield "The last four columns are numbers of rows. Rows without targets are not counted."
    if has_growth:
        yield ""
        yield f"[What grows]({GROWTH}) with the number of connections and of stored messages."


def _counts(rows):
    with_targets = [row for row in rows if row["at_least"] is not None]
    verdicts = Counter(row["reached"] for row in with_targets)
    return [verdicts[BEYOND], verdicts[REACHED], verdicts[MISSED], verdicts[None]]

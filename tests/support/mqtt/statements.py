"""Which test shows which statement of the standards, for ``docs/protocol/mqtt-statements.md``.

``python -m tests.support.mqtt.statements`` writes the page.

Tests name statements in their docstrings, and packets that break the standard in their rows of :mod:`tests.support.mqtt.broken`. A number
is of MQTT 5.0, unless ``of 3.1.1`` follows it (and those before it up to a semicolon), or ``3.1.1:`` stands in front.
"""

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.support.mqtt import broken
from tests.support.mqtt.standards import GROUPS, PROPERTIES, STATEMENTS, Statement
from tests.support.packages import ROOT

PAGE = ROOT / "docs" / "protocol" / "mqtt-statements.md"
FOLDERS = ("tests/wire/mqtt", "tests/fronts/mqtt", "tests/transports/mqtt")
CASES = "tests/support/mqtt/broken.py"

_TOKEN = re.compile(
    r"\[MQTT-(?P<id>[\d.]+-\d+)\](?: to \[?(?:MQTT-)?(?:[\d.]*-)?(?P<last>\d+)\]?)?"
    r"|\bof (?P<behind>5\.0|3\.1\.1|both)\b|\b(?P<before>3\.1\.1):|(?P<end>;)"
)
_SECTION = re.compile(r"(?<![-\d.])\d+\.\d+(?:\.\d+){2,}(?![-\d])")

_INTRODUCTION = """\
# Statements of the MQTT standards, and their tests

This page is for people who change the MQTT front. For each normative statement of MQTT 5.0 and 3.1.1 (their appendix B) it lists the tests
that name it. A row without a test is a rule for clients, an advice, or something that no test names yet. `broken: ...` is a packet of
`tests/support/mqtt/broken.py`, which `tests/wire/mqtt` and `tests/fronts/mqtt/test_violations.py` send.

The numbers were written down without the texts of the standards at hand: compare one with its text before you rely on it.

`python -m tests.support.mqtt.statements` writes this page.
"""


def read(text: str) -> set[Statement]:
    """The statements that a text names."""
    found: set[Statement] = set()
    open_ones: list[str] = []
    version = "5.0"
    for token in _TOKEN.finditer(text):
        if token["id"]:
            section, _, first = token["id"].partition("-")
            open_ones += [f"{section}-{number}" for number in range(int(first), int(token["last"] or first) + 1)]
            continue
        versions = ["5.0", "3.1.1"] if token["behind"] == "both" else [token["behind"] or version]
        found.update((each, number) for each in versions for number in open_ones)
        open_ones = []
        version = "3.1.1" if token["before"] else "5.0"
    return found | {(version, number) for number in open_ones}


def sources() -> Iterator[tuple[str, str]]:
    """Each test with its docstring, and each broken packet with what it breaks."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).glob("test_*.py")):
            yield from _docstrings(path)
    rows = [row for value in vars(broken).values() if isinstance(value, list) for row in value if isinstance(row, broken.Broken)]
    for row in rows:
        yield f"broken: {row.name}", row.statements


def _docstrings(path: Path) -> Iterator[tuple[str, str]]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            yield f"{path.relative_to(ROOT / 'tests')}: {node.name}", " ".join((ast.get_docstring(node) or "").split())


def tested() -> dict[Statement, list[str]]:
    """Statement -> the tests that name it. It may have numbers that no standard has."""
    found: dict[Statement, list[str]] = {}
    for name, text in sources():
        for statement in sorted(read(text)):
            found.setdefault(statement, []).append(name)
    return found


def render() -> str:
    """The page."""
    tests = tested()
    with_test = {version: sum(statement in tests for statement in STATEMENTS if statement[0] == version) for version in ("5.0", "3.1.1")}
    there = {version: sum(statement[0] == version for statement in STATEMENTS) for version in with_test}
    counts = " and ".join(f"{with_test[version]} of {there[version]} statements of {version}" for version in with_test)
    parts = [_INTRODUCTION, f"\nTests name {counts}.\n"]
    for group, beginnings in GROUPS.items():
        parts.append(f"\n## {group}\n\n| Statement | Tests |\n|---|---|\n")
        parts += [
            _row(f"{number} of {version}", tests.get((version, number), ()))
            for version, number in STATEMENTS
            if number.startswith(beginnings)
        ]
    parts.append("\n## Properties of MQTT 5.0\n\n| Property | Tests |\n|---|---|\n")
    by_section = _by_section()
    for name, found in PROPERTIES.items():
        names = [test for number in found.statements for test in tests.get(("5.0", number), ())]
        names += [test for section in found.sections for test in by_section.get(section, ())]
        parts.append(_row(name, dict.fromkeys(names)))
    return "".join(parts)


def _by_section() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, text in sources():
        for section in _SECTION.findall(text):
            found.setdefault(section, []).append(name)
    return found


def _row(name: str, tests: Iterable[str]) -> str:
    return f"| {name} | {'<br>'.join(f'`{test}`' for test in tests).replace('|', chr(92) + '|')} |\n"


def main() -> None:
    """Write the page."""
    PAGE.write_text(render(), encoding="utf-8")
    sys.stdout.write(f"{PAGE.relative_to(ROOT)} written\n")


if __name__ == "__main__":
    main()

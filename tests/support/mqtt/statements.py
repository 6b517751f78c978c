"""Which test shows which statement of the standards, for ``docs/protocol/mqtt-statements.md``.

``python -m tests.support.mqtt.statements`` writes the page.

Tests name statements in their docstrings, and packets that break the standard in their rows of :mod:`tests.support.mqtt.broken`. A number
is of MQTT 5.0, unless ``of 3.1.1`` follows it (and those before it up to a semicolon), or ``3.1.1:`` stands in front.

A test that runs for both versions shows the same statement of 3.1.1 too. It has a parameter ``version`` (or ``publisher``,
``subscriber``), or its docstring says ``In both versions``.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.support.mqtt import broken
from tests.support.mqtt.standards import GROUPS, NOT_TESTABLE, PROPERTIES, RULES, Rule, Statement
from tests.support.packages import ROOT

PAGE = ROOT / "docs" / "protocol" / "mqtt-statements.md"
FOLDERS = ("tests/wire/mqtt", "tests/fronts/mqtt", "tests/transports/mqtt")
PARAMETERS = {"version", "publisher", "subscriber"}
"""Those whose values are versions of MQTT: 3, 4 or 5."""

_TOKEN = re.compile(
    r"\[MQTT-(?P<id>[\d.]+-\d+)\](?: to \[?(?:MQTT-)?(?:[\d.]*-)?(?P<last>\d+)\]?)?"
    r"|\bof (?P<behind>5\.0|3\.1\.1|both)\b|\b(?P<before>3\.1\.1):|(?P<end>;)"
)
_SECTION = re.compile(r"(?<![-\d.])\d+\.\d+(?:\.\d+){2,}(?![-\d])")
_OLD_NUMBERS = {rule.number: rule.old_number for rule in RULES if rule.number and rule.old_number}

_INTRODUCTION = """\
# Statements of the MQTT standards, and their tests

This page is for people who change the MQTT front. For each normative statement of MQTT 5.0 and 3.1.1 (their appendix B) it says, in our
words, what the statement is about, and lists the tests that name it. `broken: ...` is a packet of `tests/support/mqtt/broken.py`, which
`tests/wire/mqtt` and `tests/fronts/mqtt/test_violations.py` send. In a row with two numbers, a test shows both unless a version follows it.

A statement that binds clients only has a test if the server looks at it. One that binds the server has a test, or the reason why not.

Numbers and subjects were compared with what other implementations quote from the standards. No quotation was found for some: mainly
sections 4.6 to 4.13 and 6, and about half of 3.1.1. Their numbers were written down from memory.

`python -m tests.support.mqtt.statements` writes this page.
"""


class Source(NamedTuple):
    """A test with its docstring, or a broken packet with what it breaks.

    :ivar is_for_both: whether it runs for 5.0 and for 3.1.1 or 3.1.
    """

    name: str
    text: str
    is_for_both: bool


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


def sources() -> Iterator[Source]:
    """Each test, and each broken packet."""
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).glob("test_*.py")):
            yield from _tests(path)
    rows = [row for value in vars(broken).values() if isinstance(value, list) for row in value if isinstance(row, broken.Broken)]
    for row in rows:
        yield Source(f"broken: {row.name}", row.statements, _are_both(set(row.versions)))


def _tests(path: Path) -> Iterator[Source]:
    module = ast.parse(path.read_text(encoding="utf-8"))
    names = {
        node.targets[0].id: node.value for node in module.body if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
    }
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
            text = " ".join((ast.get_docstring(node) or "").split())
            versions = {value for each in node.decorator_list for value in _versions(each, names)}
            yield Source(f"{path.relative_to(ROOT / 'tests')}: {node.name}", text, _are_both(versions) or "In both versions" in text)


def _are_both(versions: set[int]) -> bool:
    return 5 in versions and bool(versions & {3, 4})


def _versions(decorator: ast.expr, names: dict[str, ast.expr]) -> Iterator[int]:
    """The values of a version among the arguments of ``parametrize``."""
    call = names.get(decorator.id) if isinstance(decorator, ast.Name) else decorator
    if not (isinstance(call, ast.Call) and ast.unparse(call.func) == "pytest.mark.parametrize"):
        return
    parameters = ast.literal_eval(call.args[0])
    parameters = [name.strip() for name in parameters.split(",")] if isinstance(parameters, str) else parameters
    for place, parameter in enumerate(parameters):
        if parameter in PARAMETERS:
            for case in getattr(call.args[1], "elts", ()):
                value = case.elts[place] if isinstance(case, ast.Tuple) else case
                if isinstance(value, ast.Constant) and isinstance(value.value, int):
                    yield value.value


def tested() -> dict[Statement, list[str]]:
    """Statement -> the tests that name it. It may have numbers that no standard has."""
    found: dict[Statement, list[str]] = {}
    for source in sources():
        statements = read(source.text)
        if source.is_for_both:
            statements |= {("3.1.1", _OLD_NUMBERS[number]) for version, number in statements if version == "5.0" and number in _OLD_NUMBERS}
        for statement in sorted(statements):
            found.setdefault(statement, []).append(source.name)
    return found


def open_ones() -> list[Statement]:
    """The statements that bind the server and have neither a test nor a reason."""
    tests = tested()
    return [
        statement
        for rule in RULES
        if rule.binds != "client"
        for statement in rule.statements
        if not (statement in tests or _reason(statement))
    ]


def _reason(statement: Statement) -> str:
    version, number = statement
    return NOT_TESTABLE.get(number if version == "5.0" else f"{number} of {version}", "")


def render() -> str:
    """The page."""
    tests = tested()
    parts = [_INTRODUCTION, "\n## Counts\n\n| Group | 5.0: server | with a test | 3.1.1: server | with a test |\n|---|---|---|---|---|\n"]
    parts += [_counts(group, rules, tests) for group, rules in GROUPS.items()] + [_counts("all", RULES, tests)]
    for group, rules in GROUPS.items():
        parts.append(f"\n## {group}\n\n| 5.0 | 3.1.1 | Binds | About | Tests |\n|---|---|---|---|---|\n")
        parts += [_row(rule, tests) for rule in rules]
    parts.append("\n## Properties of MQTT 5.0\n\n| Property | Tests |\n|---|---|\n")
    by_section = _by_section()
    for name, found in PROPERTIES.items():
        names = [test for number in found.statements for test in tests.get(("5.0", number), ())]
        names += [test for section in found.sections for test in by_section.get(section, ())]
        parts.append(f"| {name} | {_list(dict.fromkeys(names, ''))} |\n")
    return "".join(parts)


def _counts(group: str, rules: list[Rule], tests: dict[Statement, list[str]]) -> str:
    cells = []
    for version in ("5.0", "3.1.1"):
        bound = {each for rule in rules if rule.binds != "client" for each in rule.statements if each[0] == version}
        cells += [str(len(bound)), str(sum(statement in tests for statement in bound))]
    return f"| {group} | {' | '.join(cells)} |\n"


def _by_section() -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for source in sources():
        for section in _SECTION.findall(source.text):
            found.setdefault(section, []).append(source.name)
    return found


def _row(rule: Rule, tests: dict[Statement, list[str]]) -> str:
    showing: dict[str, str] = {}
    for version, number in rule.statements:
        for name in tests.get((version, number), ()):
            showing[name] = "" if name in showing or len(rule.statements) == 1 else f" ({version})"
    cell = _list(showing) or _reason(rule.statements[0])
    return f"| {rule.number} | {rule.old_number} | {rule.binds} | {rule.subject} | {cell} |\n"


def _list(tests: dict[str, str]) -> str:
    return "<br>".join(f"`{name}`{version}" for name, version in tests.items()).replace("|", chr(92) + "|")


def main() -> None:
    """Write the page."""
    PAGE.write_text(render(), encoding="utf-8")
    sys.stdout.write(f"{PAGE.relative_to(ROOT)} written\n")


if __name__ == "__main__":
    main()

"""``docs/architecture.md`` names files, functions and folders: all of them exist."""

import ast
import re

import pytest

from tests.support.packages import ROOT
from tests.test_layers import LAYERS

PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PLACES = (ROOT, ROOT / "dhtwisted")
PATH = re.compile(r"`([\w.*/-]+(?:\.(?:py|toml|md|cfg|sql)|/))`")
FUNCTION = re.compile(r"`([\w/]+\.py)` `([A-Za-z_][\w.]*)`")
FLOOR = re.compile(r"^\| `([\w/.]+?)(?:\.py|/)?`", re.MULTILINE)


def section(title):
    """The text below a heading, to the next one of the same level."""
    return re.split(r"^## ", PAGE.split(f"## {title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def found(path):
    return [place / path for place in PLACES if (place / path).exists()]


def names(path):
    """What a module defines: functions, classes, ``Class.method``, and constants."""
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        yield from _defined(node)
        if isinstance(node, ast.ClassDef):
            yield from (f"{node.name}.{name}" for inner in node.body for name in _defined(inner))


def _defined(node):
    if isinstance(node, ast.Assign):
        return [target.id for target in node.targets if isinstance(target, ast.Name)]
    if isinstance(node, ast.AnnAssign):
        return [node.target.id]
    return [node.name] if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) else []


@pytest.mark.parametrize("path", sorted(set(PATH.findall(PAGE))))
def test_files_that_it_names_exist(path):
    assert found(path), f"docs/architecture.md names {path}, which is not there"


@pytest.mark.parametrize("path, name", sorted(set(FUNCTION.findall(PAGE))))
def test_functions_that_it_names_exist(path, name):
    (module,) = found(path)
    assert name in set(names(module)), f"docs/architecture.md names {name}, which {path} does not define"


def test_it_has_every_floor_in_order():
    floors = FLOOR.findall(section("The floors"))
    assert floors == [name for name in LAYERS if name != "__main__"]


def test_it_follows_five_lives_by_functions():
    steps = {title: len(FUNCTION.findall(text)) for title, text in (part.split("\n", 1) for part in PAGE.split("\n### ")[1:])}
    assert len([title for title in steps if title.startswith("The life of")]) == 5
    assert all(count >= 5 for title, count in steps.items() if title.startswith("The life of")), steps


def test_it_says_where_twenty_changes_begin():
    rows = [line for line in section("To change something").splitlines() if line.startswith("| ")]
    assert len(rows) - 1 >= 20

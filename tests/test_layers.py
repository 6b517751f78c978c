"""Who may import whom. An import against an arrow is found here before it becomes a habit."""

import ast
import os
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "dhtwisted"

LAYERS = """
    errors model interfaces kit wire logs providers core config transfer control actions fronts reference
    transports monitoring service cli testing tap __main__
""".split()
"""The folders and modules of the package, each below those that may import it. A new one has its place here."""

GROUND = {"errors", "model", "interfaces", "kit"}
"""What a provider may know: a stranger's has no more."""

CONFINED = {
    "autobahn": "transports.websocket",
    "jwt": "providers.jwt",
    "websockets": "transports.websocket",
    "sqlite3": "providers.sqlite",
    "txpostgres": "providers.postgres",
    "psycopg2": "providers.postgres",
    "pytest": "testing",
    "pytest_twisted": "testing",
    "hypothesis": "testing",
}
"""Library -> the only folder that may import it."""


def module_name(path):
    """Name a module as seen from the package: ``storage.file``; empty for the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def imports(path):
    """List everything that a module imports, anywhere in it, by absolute name."""
    return tuple(_imports(path))


def _imports(path):
    package = ["dhtwisted", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([*(package[: len(package) - node.level + 1] if node.level else []), *filter(None, [node.module])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def layer_of(name):
    return LAYERS.index(name.partition(".")[0])


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
PARTS = {name: path for name, path in MODULES.items() if name}


def own_imports(path):
    """List the modules of this package that a module imports."""
    return {name.removeprefix("dhtwisted.") for name in imports(path)} & PARTS.keys()


def test_each_folder_has_its_layer():
    assert {name.partition(".")[0] for name in PARTS} == set(LAYERS)


@pytest.mark.parametrize("name", PARTS)
def test_no_import_runs_upwards(name):
    assert {imported for imported in own_imports(PARTS[name]) if layer_of(imported) > layer_of(name)} == set()


def test_no_imports_run_in_circles():
    sorter = TopologicalSorter({name: own_imports(path) - {name} for name, path in PARTS.items()})
    sorter.prepare()


@pytest.mark.parametrize("name", [name for name in PARTS if name.startswith("providers.") and "." in name])
def test_providers_know_no_more_than_a_stranger(name):
    known = GROUND | {"providers"}
    assert {imported for imported in own_imports(PARTS[name]) if imported.partition(".")[0] not in known} == set()


@pytest.mark.parametrize("library", CONFINED)
def test_libraries_stay_where_they_belong(library):
    users = {name for name, path in PARTS.items() if any(imported.partition(".")[0] == library for imported in imports(path))}
    assert {name for name in users if not f"{name}.".startswith(f"{CONFINED[library]}.")} == set()


def test_nothing_imports_the_reactor_when_it_is_imported():
    names = ", ".join(f"dhtwisted.{name}" for name in PARTS if not name.startswith("testing") and name != "__main__")
    code = f"import sys, {names}; print('twisted.internet.reactor' in sys.modules)"
    assert run_python(code) == "False\n"


def test_listing_providers_and_options_imports_nothing_heavy():
    # Without other people's drop-ins, which a stale cache would import.
    code = "import sys, twisted.plugins, dhtwisted.tap, dhtwisted.providers.lookup as lookup; "
    code += "twisted.plugins.__path__ = []; lookup.describe_all(); "
    code += "print([name for name in ('autobahn', 'jwt', 'sqlite3', 'psycopg2') if name in sys.modules])"
    assert run_python(code) == "[]\n"


def run_python(code):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=True).stdout

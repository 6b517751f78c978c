"""Who may import whom. An import against an arrow is found here before it becomes a habit."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "dhtwisted"

LAYERS = {
    "ground": "errors interfaces model schema timestamps coercion json_faults envelope resources coroutines turns weighed waiter "
    "throttle conventions metrics masking tracing line_limit budget message_pages statistics private_files edited_text addresses "
    "password_records rules quotas stored_today",
    "core": "server logins broker arrivals access entities lookups replay polls audit deadlines expired_tokens",
    "logs": "logs",
    "actions": "actions",
    "session": "session rest reference",
    "backends": "storage bus postgres auth passwords signing_key retention patient_clock",
    "configuration": "config config_environment config_kinds config_sources endpoints reloading providers provider_declaration",
    "declarations": "builtin_providers",
    "transfer": "transfer",
    "outermost": "control terminal transports tap service neighbours self_checks opening process clock_guard systemd tls doctor bootstrap "
    "audit_file accounts account_commands account_input account_options command_options command_line transfer_commands __main__",
    "testing": "testing",
}
"""Layer -> its modules and packages. A new module belongs to one of them."""

MAY_IMPORT = {
    "ground": {"ground"},
    "core": {"ground", "core"},
    "logs": {"ground", "logs"},
    "actions": {"ground", "core", "actions"},
    "session": {"ground", "core", "actions"},
    "backends": {"ground", "backends"},
    "configuration": {"ground", "configuration", "declarations"},
    "declarations": {"ground", "backends", "configuration"},
    "transfer": {"ground", "transfer"},
    "outermost": {"ground", "core", "actions", "session", "backends", "configuration", "transfer", "logs", "outermost"},
    "testing": set(LAYERS),
}

BACKENDS_USE = {
    "errors",
    "interfaces",
    "model",
    "timestamps",
    "turns",
    "waiter",
    "weighed",
    "statistics",
    "private_files",
    "edited_text",
    "password_records",
}
"""Of the ground, what a backend may know: a stranger's has no more."""

CONFINED = {
    "autobahn": {"transports.websocket", "transports.frames"},
    "jwt": {"auth"},
    "websockets": {"transports.frames"},
    "sqlite3": {"storage"},
    "txpostgres": {"postgres.driver"},
    "psycopg2": {"postgres", "storage.postgres", "storage.postgres_values", "bus.postgres"},
    "pytest": {"testing"},
    "pytest_twisted": {"testing"},
    "hypothesis": {"testing"},
}
"""Library -> the only modules that may import it."""


def module_name(path):
    """Name a module as seen from the package: ``storage.file``; empty for the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path):
    """List everything that a module imports, anywhere in it, by absolute name."""
    package = ["dhtwisted", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([*(package[: len(package) - node.level + 1] if node.level else []), *filter(None, [node.module])])
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def layer_of(name):
    top = name.partition(".")[0]
    (layer,) = [layer for layer, members in LAYERS.items() if top in members.split()] or [None]
    assert layer is not None, f"say in LAYERS to which layer {name} belongs"
    return layer


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}
PARTS = {name: path for name, path in MODULES.items() if name}


def own_imports(path):
    """List the modules of this package that a module imports."""
    return {name.removeprefix("dhtwisted.") for name in imports(path)} & PARTS.keys()


@pytest.mark.parametrize("name", PARTS)
def test_imports_follow_the_arrows(name):
    layer = layer_of(name)
    for imported in own_imports(PARTS[name]):
        same_package = "." in imported and imported.partition(".")[0] == name.partition(".")[0]
        assert same_package or layer_of(imported) in MAY_IMPORT[layer], f"{name} must not import {imported}"


@pytest.mark.parametrize("name", [name for name in PARTS if layer_of(name) == "backends"])
def test_backends_know_no_more_than_a_stranger(name):
    ground = {imported for imported in own_imports(PARTS[name]) if layer_of(imported) == "ground"}
    assert ground <= BACKENDS_USE


@pytest.mark.parametrize("library", CONFINED)
def test_libraries_stay_where_they_belong(library):
    users = {name for name, path in PARTS.items() if any(imported.partition(".")[0] == library for imported in imports(path))}
    assert {name for name in users if name not in CONFINED[library] and name.partition(".")[0] not in CONFINED[library]} == set()


def test_nothing_imports_the_reactor_when_it_is_imported():
    names = ", ".join(f"dhtwisted.{name}" for name in PARTS if layer_of(name) != "testing" and name != "__main__")
    code = f"import sys, {names}; print('twisted.internet.reactor' in sys.modules)"
    assert run_python(code) == "False\n"


def test_listing_providers_and_options_imports_nothing_heavy():
    # Without other people's drop-ins, which a stale cache would import.
    code = "import sys, twisted.plugins, dhtwisted.tap; twisted.plugins.__path__ = []; dhtwisted.tap.describe_all(); "
    code += "print([name for name in ('autobahn', 'jwt', 'sqlite3', 'psycopg2') if name in sys.modules])"
    assert run_python(code) == "[]\n"


def run_python(code):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=True).stdout

"""The command and the environment for a pytest that a test starts as a process."""

import os
import sys

from tests.support.packages import ROOT

PLUGINS = ("pytest_timeout", "pytest_twisted", "xdist")
PYTEST = (sys.executable, "-m", "pytest", *(word for plugin in PLUGINS for word in ("-p", plugin)), "--reactor", "default")


def plain_environment() -> dict[str, str]:
    """The environment without the variables that the outer pytest has set.

    Only :data:`PLUGINS` are loaded. All installed plugins would take two seconds of processor time.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return kept | {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}

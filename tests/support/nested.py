"""How tests run pytest in a process of its own."""

import os
import sys

from tests.support.packages import ROOT

PLUGINS = ("pytest_timeout", "pytest_twisted", "xdist")
PYTEST = (sys.executable, "-m", "pytest", *(word for plugin in PLUGINS for word in ("-p", plugin)), "--reactor", "default")


def plain_environment():
    """The environment for it, without what the outer pytest has set.

    Only :data:`PLUGINS` are loaded. All that are installed would take two seconds of processor time, in each worker of pytest-xdist again.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    return kept | {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}

"""The command ``devicehive`` as a process, run to its end."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "dhtwisted")
TWISTD = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()")
SECONDS = 60


def environment() -> dict[str, str]:
    """The environment of this process, with the checkout on ``PYTHONPATH`` and without ``DHTWISTED_`` options."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DHTWISTED_")}
    return inherited | {"PYTHONPATH": os.pathsep.join(filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH")]))}


def run(directory: Path, *arguments: str, command: Sequence[str] = COMMAND, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [*command, *arguments], cwd=directory, env=environment() | variables, capture_output=True, text=True, timeout=SECONDS, check=False
    )

"""Which of the two ways of reading and writing frames is in use."""

import os
import subprocess
import sys

import pytest

from tests.support.speedups import speedups

SHOW = "from dhtwisted.kit.speedups import IN_USE, SPEEDUPS; print(SPEEDUPS is not None, IN_USE)"


def shown(hook=""):
    """What a new process says, after ``hook`` has run in it."""
    done = subprocess.run([sys.executable, "-c", f"{hook}\n{SHOW}"], env=os.environ, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


def test_the_module_is_in_use_where_it_is_built():
    speedups()
    assert shown() == "True frames in C"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("ModuleNotFoundError('no such module')", "False frames in Python"),
        ("ImportError('wrong ELF class')", "False frames in Python, since the C module cannot be loaded: wrong ELF class"),
    ],
)
def test_without_it_python_does_the_work_and_says_why(error, said):
    hook = f"""
import sys
class Refusing:
    def find_spec(self, name, path=None, target=None):
        if name == "dhtwisted.speedups":
            raise {error}
sys.meta_path.insert(0, Refusing())
"""
    assert shown(hook) == said

"""mypy finds mistakes in the use of dhtwisted: with the settings of the project, and as part of it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.packages import ROOT

SECONDS = 80
MODULE = "dhtwisted/__main__.py"
"""No module imports it. For mypy the module of the test takes its place."""

HEAD = '''"""A module of dhtwisted."""

from zope.interface import implementer

from dhtwisted.interfaces import IMessageStorage
from dhtwisted.kit.examination import schema_finding
from dhtwisted.providers.memory import MemoryStorage

'''

GOOD = """
def level(version: int) -> str:
    return schema_finding("The file", version, 3, "It is new.").level


@implementer(IMessageStorage)
class Messages(MemoryStorage):
    pass
"""

WRONG = '''
schema_finding("The file", "3", 3, "It is new.")


def untyped(value):
    return value


@implementer(IMessageStorage)
class Messages:
    """It has no method."""
'''


def check(text: str, directory: Path) -> list[str]:
    """Run mypy on a module. Returns its errors without their places."""
    path = directory / "module.py"
    path.write_text(text)
    options = ["--no-error-summary", "--cache-dir", str(directory / "cache"), "--shadow-file", MODULE, str(path)]
    command = [sys.executable, "-m", "mypy", *options, MODULE]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS, check=False)
    assert not done.stderr, done.stderr
    return re.findall(r": error: (.*)", done.stdout)


@pytest.mark.slow
def test_mistakes_are_found_and_nothing_else(tmp_path):
    assert check(HEAD + GOOD, tmp_path) == []
    wrong_argument, untyped, missing = check(HEAD + WRONG, tmp_path)
    assert wrong_argument == 'Argument 2 to "schema_finding" has incompatible type "str"; expected "int"  [arg-type]'
    assert untyped == "Function is missing a type annotation  [no-untyped-def]"
    assert missing.startswith("'Messages' is missing following 'IMessageStorage' interface members: append, find_messages,")

"""Runs suites of ``dhtwisted.testing`` on providers that break their contract, as their authors would, and reads the failures."""

import subprocess
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from tests.support.nested import PYTEST, plain_environment
from tests.support.packages import ROOT

SECONDS = 200


class Outcome:
    """The outcome of one test.

    :ivar failures: the texts of all failures: of the test itself, or of a fixture before or after it.
    :ivar skipped: the reason why it was skipped; ``None`` if it was not.
    :ivar output: what was printed.
    """

    def __init__(self, failures: str, skipped: str | None, output: str) -> None:
        self.failures = failures
        self.skipped = skipped
        self.output = output


def run_suite(module: str, tests: Iterable[str], directory: Path) -> dict[str, Outcome]:
    """Run tests of a module in a new process.

    :param module: its name in ``tests/support/contracts``, such as ``broken_storages``.
    :param tests: ``Class::test``, with the parameters in brackets if the test has some.
    :param directory: for files.
    :returns: test -> its outcome.
    """
    report = directory / "report.xml"
    nodes = [f"tests/support/contracts/{module}.py::{test}" for test in tests]
    options = ["-q", "-p", "no:randomly", "-p", "no:cacheprovider", "-o", "python_classes=*", "-o", "junit_logging=all", "--capture=sys"]
    command = [*PYTEST, *options, f"--basetemp={directory / 'base'}", f"--junitxml={report}", *nodes]
    done = subprocess.run(command, cwd=ROOT, env=plain_environment(), capture_output=True, text=True, timeout=SECONDS, check=False)
    assert report.exists(), done.stdout + done.stderr
    found: dict[str, Outcome] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.attrib['classname'].rpartition('.')[2]}::{case.get('name')}"
        found[name] = _merged(found.get(name), _outcome(case))
    missing = set(tests) - set(found)
    assert not missing, f"not run: {sorted(missing)}\n{done.stdout}{done.stderr}"
    return found


def _outcome(case: Element) -> Outcome:
    texts = [element.text or "" for kind in ("failure", "error") for element in case.iter(kind)]
    # pytest marks the lines of the failure with an E. The other lines are source code, which also has the texts of other failures.
    failures = "\n".join(line[1:].strip() for text in texts for line in text.splitlines() if line.startswith("E "))
    skipped = next((element.get("message") for element in case.iter("skipped")), None)
    return Outcome(failures, skipped, "\n".join(element.text or "" for element in case.iter("system-out")))


def _merged(first: Outcome | None, second: Outcome) -> Outcome:
    """Join two outcomes of one test: the report has it twice when its fixture fails too."""
    if first is None:
        return second
    return Outcome(first.failures + second.failures, first.skipped or second.skipped, first.output + second.output)

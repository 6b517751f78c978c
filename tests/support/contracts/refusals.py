"""Runs suites of ``dhtwisted.testing`` on providers that break their contract, as their authors would, and reads what they are told."""

import subprocess
from xml.etree import ElementTree

from tests.support.nested import PYTEST, plain_environment
from tests.support.packages import ROOT

SECONDS = 200


class Outcome:
    """What came of one test.

    :ivar failures: all that failed, as text: the test itself, or a fixture before or after it.
    :ivar skipped: the reason for which it was skipped; ``None`` if it was not.
    :ivar output: what was printed.
    """

    def __init__(self, failures, skipped, output):
        self.failures = failures
        self.skipped = skipped
        self.output = output


def run_suite(module, tests, directory):
    """Run tests of a module in a process of their own.

    :param module: below ``tests/support/contracts``, such as ``broken_storages``.
    :param tests: ``Class::test``, with the parameter in brackets where the test has some.
    :param directory: for files.
    :returns: a dict of each of the tests and its :class:`Outcome`.
    """
    report = directory / "report.xml"
    nodes = [f"tests/support/contracts/{module}.py::{test}" for test in tests]
    options = ["-q", "-p", "no:randomly", "-p", "no:cacheprovider", "-o", "python_classes=*", "-o", "junit_logging=all", "--capture=sys"]
    command = [*PYTEST, *options, f"--basetemp={directory / 'base'}", f"--junitxml={report}", *nodes]
    done = subprocess.run(command, cwd=ROOT, env=plain_environment(), capture_output=True, text=True, timeout=SECONDS, check=False)
    assert report.exists(), done.stdout + done.stderr
    found = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = f"{case.get('classname').rpartition('.')[2]}::{case.get('name')}"
        found[name] = _merged(found.get(name), _outcome(case))
    missing = set(tests) - set(found)
    assert not missing, f"not run: {sorted(missing)}\n{done.stdout}{done.stderr}"
    return found


def _outcome(case):
    texts = [element.text or "" for kind in ("failure", "error") for element in case.iter(kind)]
    # What pytest marks with an E is what is said; the rest is source, which has the sentences of other mistakes too.
    failures = "\n".join(line[1:].strip() for text in texts for line in text.splitlines() if line.startswith("E "))
    skipped = next((element.get("message") for element in case.iter("skipped")), None)
    return Outcome(failures, skipped, "\n".join(element.text or "" for element in case.iter("system-out")))


def _merged(first, second):
    """A test that fails and whose fixture then fails too is there twice."""
    if first is None:
        return second
    return Outcome(first.failures + second.failures, first.skipped or second.skipped, first.output + second.output)

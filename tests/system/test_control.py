"""Commands of the shell beside a running server, through its control socket."""

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import threading
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil
import pytest

from tests.support.servers.process import CHECKOUT, DEVICEHIVE, PASSWORD, START_SECONDS, Client, Refused, ServerProcess
from tests.support.servers.shell import STORAGE, done, failed, log_in, run
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

NEW_PASSWORD = "a-new-password"
OPERATOR = pwd.getpwuid(os.getuid()).pw_name
SOCKET = "hive.sqlite.control"
NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can work as another account")


@pytest.fixture(params=["file", "postgres", "memory"])
def place(request, tmp_path):
    """Arguments and environment for server and shell alike, of storages of every sort."""
    if request.param == "file":
        return STORAGE, {}
    environment = {"DHTWISTED_SERVER_CONTROL_SOCKET": str(tmp_path / "control"), "DHTWISTED_AUTH_SECRET": "s" * 40}
    if request.param == "postgres":
        return ("--storage", f"postgres:{request.getfixturevalue('database')}"), environment
    return ("--storage", "memory:"), environment


@pytest.fixture
def beside(place, start, tmp_path):
    """A server with an audit log, and the shell for it, which is not told of that log."""
    storage, environment = place
    server = start(*storage, DHTWISTED_LOG_AUDIT_FILE="audit.log", **environment)
    return server, partial(run, tmp_path, storage=storage, **environment)


def recorded(directory):
    """What operators did, by the server's audit log; and all of it as text."""
    text = (directory / "audit.log").read_text()
    records = [json.loads(line) for line in text.splitlines()]
    return [record for record in records if record["event"].startswith("shell/")], text


def test_users_change_and_their_connections_notice_at_once(beside, tmp_path):
    server, shell = beside
    made_up = done(shell("user", "add", "--random", "--network", "1", "anna")).strip()
    anna = Client(server.url())
    anna.call("authenticate", token=log_in(server, "anna", made_up))
    anna.call("device/list")
    done(shell("user", "passwd", "--password-file", "-", "anna", given=f"{NEW_PASSWORD}\n"))
    with pytest.raises(Refused, match="401"):
        anna.call("device/list")
    anna.call("authenticate", token=log_in(server, "anna", NEW_PASSWORD))
    done(shell("user", "disable", "anna"))
    with pytest.raises(Refused, match="401"):
        anna.call("device/list")
    with pytest.raises(Refused):
        log_in(server, "anna", NEW_PASSWORD)
    done(shell("user", "enable", "anna"))
    done(shell("user", "role", "anna", "admin"))
    anna.call("authenticate", token=log_in(server, "anna", NEW_PASSWORD))
    assert anna.call("user/count")["count"] == 2
    assert [json.loads(line)["login"] for line in done(shell("user", "list", "--json")).splitlines()] == ["dhadmin", "anna"]
    done(shell("user", "delete", "--yes", "anna"))
    with pytest.raises(Refused, match="401"):
        anna.call("device/list")
    assert "dhadmin" in done(shell("user", "list"))
    assert "last active administrator" in failed(shell("user", "delete", "--yes", "dhadmin"))
    records, text = recorded(tmp_path)
    assert [record["event"].removeprefix("shell/user ") for record in records] == ["add", "passwd", "disable", "enable", "role", "delete"]
    assert {(record["operator"], record["login"]) for record in records} == {(OPERATOR, "anna")}
    assert (records[0]["role"], records[0]["networks"], records[0]["deviceTypes"], records[4]["role"]) == ("client", [1], "*", "admin")
    for secret in (made_up, NEW_PASSWORD):
        assert secret not in text + server.log


def test_tokens_are_made_with_the_servers_key_and_end_at_once(beside, tmp_path):
    server, shell = beside
    token = done(shell("token", "create", "--device", "pump", "--label", "garden", "--expires", "1h", "dhadmin")).strip()
    pump = Client(server.url())
    pump.call("authenticate", token=token)
    pump.call("device/save", deviceId="pump", device={})
    shown = shell("token", "show", given=token)
    assert json.loads(done(shown))["device"] == "pump"
    assert shown.stderr == "The server accepts this token.\n"
    (record,) = [json.loads(line) for line in done(shell("token", "list", "--json")).splitlines()]
    done(shell("token", "revoke", "--id", str(record["id"])))
    with pytest.raises(Refused, match="401"):
        pump.call("device/get", deviceId="pump")
    revoked = shell("token", "show", given=token)
    assert (revoked.returncode, json.loads(revoked.stdout)["device"]) == (1, "pump")
    assert revoked.stderr == "devicehive token show: the server does not accept this token: it was revoked\n"
    assert "a time such as" in failed(shell("token", "create", "--expires", "soon", "dhadmin"))
    records, text = recorded(tmp_path)
    assert [(r["event"], r["operator"], r.get("label"), r.get("id")) for r in records] == [
        ("shell/token create", OPERATOR, "garden", None),
        ("shell/token revoke", OPERATOR, None, record["id"]),
    ]
    assert token not in text + server.log


def test_an_export_is_what_an_import_takes(beside, start, tmp_path):
    server, shell = beside
    client = server.connect()
    client.call("device/save", deviceId="d-1", device={"name": "kept"})
    for number in range(1000):
        client.call("notification/insert", deviceId="d-1", notification={"notification": str(number)})
    told = shell("export", "all.jsonl.gz")
    assert (told.returncode, told.stdout) == (0, "")
    assert "1 device," in told.stderr and "1001 notifications" in told.stderr, "one is of the server: that the device is new"
    streamed = done(shell("export", "-")).splitlines()
    assert json.loads(streamed[-1])["end"]["notification"] == 1001
    assert "is there already" in failed(shell("export", "all.jsonl.gz"))
    assert (tmp_path / "all.jsonl.gz").stat().st_mode & 0o777 == 0o600
    assert [(record["event"], record["file"]) for record in recorded(tmp_path)[0]] == [
        ("shell/export", "all.jsonl.gz"),
        ("shell/export", "-"),
    ]
    client.call("notification/insert", deviceId="d-1", notification={"notification": "later"})
    done(run(tmp_path, "import", "all.jsonl.gz", storage=("--storage", "file:moved.sqlite")))
    moved = start("--storage", "file:moved.sqlite")
    client = moved.connect()
    found = client.call("notification/list", deviceId="d-1", take=2000)["notifications"]
    assert [notification["notification"] for notification in found][1:] == [str(number) for number in range(1000)]


def test_the_server_says_how_it_is(beside):
    server, shell = beside
    client = server.connect()
    state = json.loads(done(shell("status")))
    assert (state["process"], state["addresses"], state["ready"]) == (server.process.pid, [f"127.0.0.1:{server.port}"], True)
    assert state["connections"] == 1
    assert state["settings"]["limits"]["connections"] == 20000
    assert state["settings"]["auth"]["admin_password"] == "***"
    assert PASSWORD not in json.dumps(state)
    client.close()
    server.terminate()
    assert "no running server" in failed(shell("status"))


def test_the_socket_is_for_its_owner_alone_and_goes_with_the_server(start, shell, tmp_path):
    umask = os.umask(0)
    try:
        server = start(*STORAGE)
    finally:
        os.umask(umask)
    assert (tmp_path / SOCKET).stat().st_mode & 0o777 == 0o600
    assert server.terminate() == 0
    assert not (tmp_path / SOCKET).exists()
    left = {"server.log", "hive.sqlite", "hive.sqlite.lock", "hive.sqlite.mark", "devicehive.secret"}
    assert {path.name for path in tmp_path.iterdir()} == left


def test_what_a_killed_server_leaves_is_in_nobodys_way(start, shell, tmp_path):
    server = start(*STORAGE)
    server.kill()
    assert (tmp_path / SOCKET).is_socket()
    done(shell("user", "add", "--random", "anna"))
    server = start(*STORAGE)
    done(shell("user", "add", "--random", "berta"))
    assert server.connect().call("user/count")["count"] == 3
    assert server.terminate() == 0


def test_of_two_servers_with_one_socket_the_second_does_not_start(start, tmp_path):
    environment = {"DHTWISTED_SERVER_CONTROL_SOCKET": "control"}
    start("--storage", "file:one.sqlite", **environment)
    with pytest.raises(AssertionError, match="Cannot start: server.control_socket: .*control: another server listens there"):
        start("--storage", "file:two.sqlite", **environment)
    shell = partial(run, tmp_path, "user", "list", **environment)
    assert "dhadmin" in done(shell(storage=("--storage", "file:one.sqlite")))
    (tmp_path / "file").write_text("kept")
    with pytest.raises(AssertionError, match="is there and no socket"):
        start("--storage", "file:two.sqlite", DHTWISTED_SERVER_CONTROL_SOCKET="file")
    assert (tmp_path / "file").read_text() == "kept"


def test_two_servers_with_files_in_one_directory_have_a_socket_each(start, tmp_path):
    storages = [("--storage", "file:one.sqlite"), ("--storage", "file:two.sqlite")]
    for storage in storages:
        start(*storage)
    done(run(tmp_path, "user", "add", "--random", "anna", storage=storages[0]))
    assert "anna" in done(run(tmp_path, "user", "list", storage=storages[0]))
    assert "anna" not in done(run(tmp_path, "user", "list", storage=storages[1]))


def test_a_shell_for_other_data_leaves_the_server_alone(start, tmp_path):
    """A restored copy is looked at with the configuration of the server, which names its socket."""
    environment = {"DHTWISTED_SERVER_CONTROL_SOCKET": "control"}
    start("--storage", "file:other.sqlite").terminate()
    server = start(*STORAGE, **environment)
    done(run(tmp_path, "user", "passwd", "--random", "dhadmin", storage=("--storage", "file:other.sqlite"), **environment))
    assert log_in(server, "dhadmin", PASSWORD)


def test_without_a_socket_the_shell_says_who_has_the_file(start, shell):
    off = {"DHTWISTED_SERVER_CONTROL_SOCKET": "off"}
    server = start(*STORAGE, **off)
    line = failed(shell("user", "passwd", "--random", "dhadmin"))
    assert f"in use by process {server.process.pid}: stop that server" in line
    assert log_in(server, "dhadmin", PASSWORD)


def test_a_path_longer_than_a_socket_may_have(start, tmp_path):
    directory = tmp_path / ("d" * 100) / ("e" * 100)
    directory.mkdir(parents=True)
    storage = ("--storage", f"file:{directory}/hive.sqlite")
    server = start(*storage)
    assert "dhadmin" in done(run(tmp_path, "user", "list", storage=storage))
    assert (directory / SOCKET).stat().st_mode & 0o777 == 0o600
    server.kill()
    server = start(*storage)
    done(run(tmp_path, "user", "add", "--random", "anna", storage=storage))
    assert server.terminate() == 0
    assert not (directory / SOCKET).exists()


def test_where_no_socket_can_be_the_server_serves_all_the_same(start, shell, tmp_path):
    (tmp_path / SOCKET).mkdir()
    server = start(*STORAGE)
    assert "The server takes no commands of the shell" in server.log
    assert "in use by process" in failed(shell("user", "list"))


@pytest.fixture
def seen():
    """A server in a directory that other accounts can look at. It is not below those of other tests, which nobody may see."""
    with TemporaryDirectory() as directory:
        server = ServerProcess(directory, *STORAGE)
        yield server, Path(directory)
        server.kill()


@as_root
@pytest.mark.parametrize("arguments", [("user", "list"), ("export", "-"), ("backup", "b"), ("status",)])
def test_another_account_is_told_whose_it_is(seen, arguments):
    _, directory = seen
    assert f"{directory} belongs to {OPERATOR}: run it as root" in failed(as_nobody(directory, *arguments))


@as_root
def test_another_account_is_told_whose_it_is_where_it_cannot_see_it(start, tmp_path):
    start(*STORAGE)
    assert f"belongs to {OPERATOR}: run it as root" in failed(as_nobody(tmp_path, "user", "list"))


@as_root
def test_another_account_is_refused_also_where_the_file_would_let_it_in(seen):
    server, directory = seen
    directory.chmod(0o755)
    (directory / SOCKET).chmod(0o666)
    line = failed(as_nobody(directory, "user", "list"))
    assert line == f"devicehive user list: the server takes commands of {OPERATOR} alone"
    assert "was refused at the control socket" in server.log


AS_NOBODY = f"""
import os
from twisted.internet import reactor
from dhtwisted.providers.jwt import auth
from dhtwisted.cli import main as command_line
from dhtwisted.providers import lookup as providers
from dhtwisted.providers.sqlite import storage as file
providers.declarations()
os.setgroups([])
os.setresgid({NOBODY}, {NOBODY}, {NOBODY})
os.setresuid({NOBODY}, {NOBODY}, {NOBODY})
command_line.main()
"""
"""It becomes another account when all is imported, which that one may not be able to read."""


def as_nobody(directory, *arguments):
    """Run a command as an account that has nothing to do with the server."""
    command = [DEVICEHIVE[0], "-c", AS_NOBODY, "--storage", f"file:{directory}/hive.sqlite", *arguments]
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    return subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True, timeout=60)


def connected(directory):
    """A caller of its own, which has read the greeting."""
    caller = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    caller.settimeout(START_SECONDS)
    caller.connect(str(directory / SOCKET))
    with caller.makefile("rb", buffering=0) as file:
        assert json.loads(file.readline())["version"] == 1
    return caller


def last_line(caller):
    """What a caller is told in the end."""
    with caller.makefile("rb") as file:
        return json.loads(file.read().splitlines()[-1])


@pytest.mark.parametrize(
    "sent",
    [
        b"\x00\xff\n",
        b"{}\n",
        b'{"command":"user list","more":1}\n',
        b'{"command":"fly"}\n',
        b'{"command":"user add","login":7,"password":"secret-7"}\n',
        b"[" * 60_000 + b"\n",
        b"x" * 1_000_000,
        b'{"command":"user list"' + b" " * 100_000 + b"}\n",
    ],
)
def test_garbage_is_refused_and_told_to_nobody(start, shell, tmp_path, sent):
    server = start(*STORAGE)
    with connected(tmp_path) as caller:
        try:
            caller.sendall(sent)
        except OSError:
            pass  # It has heard enough.
        else:
            assert "is no command that the server knows" in last_line(caller)["error"]
    assert "dhadmin" in done(shell("user", "list"))
    assert "secret-7" not in server.log
    assert "Traceback" not in server.log


def test_callers_that_say_nothing_half_or_leave_hold_up_nobody(start, shell, tmp_path):
    server = start(*STORAGE)
    process = psutil.Process(server.process.pid)
    files = process.num_fds()
    silent = [connected(tmp_path) for _ in range(15)]
    silent[0].sendall(b'{"command":"user')
    assert "dhadmin" in done(shell("user", "list"))
    silent.append(connected(tmp_path))
    assert "try again" in failed(shell("user", "list"))
    for caller in silent[:8]:
        caller.close()
    assert "dhadmin" in done(shell("user", "list"))
    # The rest are dropped when they have not said in time what they want.
    wait_until(lambda: process.num_fds() == files, "the callers are dropped")
    for caller in silent:
        caller.close()


def test_many_at_once_each_get_their_own(start, tmp_path):
    server = start(*STORAGE)
    logins = [f"user-{number}" for number in range(12)]
    results = {}

    def add(login):
        results[login] = run(tmp_path, "user", "add", "--random", login)

    threads = [threading.Thread(target=add, args=(login,)) for login in logins]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for login in logins:
        assert log_in(server, login, done(results[login]).strip())


@pytest.fixture
def much(start):
    """A server with more than fits between it and a caller that does not read."""
    server = start(*STORAGE)
    client = server.connect()
    client.call("device/save", deviceId="d-1", device={})
    for _ in range(60):
        client.call("notification/insert", deviceId="d-1", notification={"notification": "n", "parameters": {"text": "x" * 500_000}})
    return server, client


def test_an_export_that_nobody_reads_waits_and_costs_nothing(much, tmp_path):
    server, client = much
    before = psutil.Process(server.process.pid).memory_info().rss
    with connected(tmp_path) as caller:
        caller.sendall(b'{"command":"export","file":"-"}\n')
        for number in range(200):
            client.call("notification/insert", deviceId="d-1", notification={"notification": f"meanwhile-{number}"})
        assert psutil.Process(server.process.pid).memory_info().rss - before < 25_000_000, "of the 30 MB that are exported"
        told = last_line(caller)
    assert told["done"]
    assert "notification" in told["line"]


def test_a_server_stops_whoever_does_not_read(much, tmp_path):
    server, _ = much
    with connected(tmp_path) as caller:
        caller.sendall(b'{"command":"export","file":"-"}\n')
        assert server.terminate() == 0
        assert "gave up waiting" not in server.log
        caller.close()
    assert "Traceback" not in server.log


@pytest.mark.parametrize("command", [b'{"command":"export","file":"-"}\n', b'{"command":"backup","file":"b"}\n'])
def test_who_leaves_in_the_middle_leaves_nothing(much, shell, tmp_path, command):
    server, _ = much
    # SQLite keeps a file open that it may not close yet, for the next who opens it.
    done(shell("backup", "first"))
    files = psutil.Process(server.process.pid).num_fds()
    with connected(tmp_path) as caller:
        caller.sendall(command)
        caller.recv(1)
    wait_until(lambda: psutil.Process(server.process.pid).num_fds() == files, "all is closed")
    assert not (tmp_path / "hive.sqlite.backup").exists()
    assert "dhadmin" in done(shell("user", "list"))
    assert "Traceback" not in server.log


def test_a_signal_ends_an_export_and_leaves_no_part_of_it(much, tmp_path):
    reading, writing = os.pipe()
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    with subprocess.Popen(
        [*DEVICEHIVE, *STORAGE, "export", "-"], cwd=tmp_path, env=environment, stdout=writing, stderr=subprocess.PIPE, text=True
    ) as shell:
        os.close(writing)
        os.read(reading, 1)
        shell.send_signal(signal.SIGTERM)
        assert shell.stderr.read() == "devicehive export: ended by a signal\n"
    assert shell.returncode == 1
    os.close(reading)


def test_a_server_that_hangs_is_told_of(start, shell, tmp_path):
    server = start(*STORAGE)
    server.process.send_signal(signal.SIGSTOP)
    try:
        line = failed(shell("user", "list"))
    finally:
        server.process.send_signal(signal.SIGCONT)
    assert f"process {server.process.pid} listens there, and has not answered for 15 seconds" in line


def test_a_server_that_dies_is_told_of(much, tmp_path):
    server, _ = much
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
    with subprocess.Popen(
        [*DEVICEHIVE, *STORAGE, "export", "-"], cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as shell:
        shell.stdout.read(1)
        server.kill()
        shell.stdout.read()
        assert b"the server ended before it reported the result" in shell.stderr.read()
    assert shell.returncode == 1


def test_a_daemon_has_a_socket_too(tmp_path):
    """Its umask is not that of the shell that started it."""
    twistd = Path(DEVICEHIVE[0]).with_name("twistd")
    if not twistd.exists():
        twistd = Path(shutil.which("twistd"))
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT), "DHTWISTED_AUTH_PASSWORD_COST": "10"}
    arguments = ["--umask=0", "--pidfile=hive.pid", "devicehive", *STORAGE, "--listen", "tcp:0:interface=127.0.0.1"]
    subprocess.run([twistd, *arguments], cwd=tmp_path, env=environment, check=True, timeout=60)
    pid = int((tmp_path / "hive.pid").read_text())
    try:
        wait_until((tmp_path / SOCKET).is_socket, "the socket is there")
        assert (tmp_path / SOCKET).stat().st_mode & 0o777 == 0o600
        assert "dhadmin" in done(run(tmp_path, "user", "list"))
    finally:
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not psutil.pid_exists(pid), "the daemon has ended")
    assert not (tmp_path / SOCKET).exists()

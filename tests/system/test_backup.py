"""``devicehive backup``: beside a server at work and without one, put back as docs/operation-service.md shows it."""

import json
import shutil
import sqlite3

import pytest

from tests.support.packages import ROOT, path_of
from tests.support.servers.load import Load
from tests.support.servers.process import Client
from tests.support.servers.report import read_stored
from tests.support.servers.shell import STORAGE, done, failed, log_in, run

pytestmark = pytest.mark.slow

ELSEWHERE = (*STORAGE, "--messages", "file:messages.sqlite")


def put_back(directory, messages=""):
    """Do what the page says, into a directory for another server."""
    other = directory / "other"
    other.mkdir()
    shutil.copy(directory / "copy", other / "hive.sqlite")
    shutil.copy(directory / "copy.secret", other / "devicehive.secret")
    if messages:
        shutil.copy(directory / "copy.messages", other / messages)
    return other


def modes(directory):
    return {path.name: path.stat().st_mode & 0o777 for path in directory.glob("copy*")}


@pytest.mark.parametrize("storage", [STORAGE, ELSEWHERE])
def test_a_copy_made_under_load_has_all_that_was_acknowledged(start, tmp_path, storage):
    server = start(*storage, DHTWISTED_LOG_AUDIT_FILE="audit.log")
    token = log_in(server, "dhadmin", "administrator-1")
    server.connect().call("network/insert", network={"name": "kept"})
    with Load([server.url()], writers=3) as load:
        load.go_on(300)
        before = [dict(writer.acknowledged) for writer in load.writers]
        told = run(tmp_path, "backup", "copy", storage=storage)
        load.go_on(100)
        report = load.report()
    assert report.faults == {}
    assert (told.returncode, told.stdout) == (0, "")
    assert "checked. The signing key is in copy.secret." in told.stderr
    is_elsewhere = storage is ELSEWHERE
    assert modes(tmp_path) == dict.fromkeys(["copy", "copy.secret", *["copy.messages"] * is_elsewhere], 0o600)
    (record,) = [json.loads(line) for line in (tmp_path / "audit.log").read_text().splitlines() if "shell/" in line]
    assert (record["event"], record["file"]) == ("shell/backup", "copy")
    other = put_back(tmp_path, "messages.sqlite" if is_elsewhere else "")
    places = (f"file:{other}/hive.sqlite", f"file:{other}/messages.sqlite")
    restored = start("--storage", places[0], *(["--messages", places[1]] if is_elsewhere else []))
    client = Client(restored.url())
    client.call("authenticate", token=token)
    assert "kept" in [network["name"] for network in client.call("network/list")["networks"]]
    stored = read_stored(client, [writer.device_id for writer in load.writers])
    for writer, acknowledged in zip(load.writers, before, strict=True):
        for kind in ("notification", "command"):
            ids = {message_id for number, (message_id, _) in acknowledged.items() if writer.sent[number] == kind}
            assert ids <= {message["id"] for message in stored[kind, writer.device_id]}
    assert "Made at first start" not in restored.log


def test_without_a_server(start, shell, tmp_path):
    start(*STORAGE).terminate()
    told = shell("backup", "copy", DHTWISTED_LOG_AUDIT_FILE="audit.log")
    assert "Copied to copy: 1 user, 1 network," in told.stderr
    assert json.loads((tmp_path / "audit.log").read_text())["event"] == "shell/backup"
    other = put_back(tmp_path)
    assert (other / "devicehive.secret").read_bytes() == (tmp_path / "devicehive.secret").read_bytes()
    connection = sqlite3.connect(other / "hive.sqlite")
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    assert start("--storage", f"file:{other}/hive.sqlite").connect().call("user/count")["count"] == 1


@pytest.mark.parametrize("is_served", [True, False])
def test_what_is_there_is_replaced_only_by_force_and_a_key_may_be_left_out(start, shell, tmp_path, is_served):
    server = start(*STORAGE)
    if not is_served:
        server.terminate()
    done(shell("backup", "--no-key", "copy"))
    assert modes(tmp_path) == {"copy": 0o600}
    assert failed(shell("backup", "copy")).startswith("devicehive backup: copy is there already")
    (tmp_path / "copy").unlink()
    (tmp_path / "copy.secret").write_text("of another")
    assert "copy.secret is there already" in failed(shell("backup", "copy"))
    assert (tmp_path / "copy.secret").read_text() == "of another"
    done(shell("backup", "--force", "copy"))
    assert (tmp_path / "copy.secret").read_bytes() == (tmp_path / "devicehive.secret").read_bytes()
    assert "several files: name the first" in failed(shell("backup", "-"))
    assert "cannot be written" in failed(shell("backup", "missing/copy"))
    done(shell("backup", "copy.gz"))
    assert (tmp_path / "copy.gz").read_bytes()[:2] == b"\x1f\x8b"
    assert not [path for path in tmp_path.iterdir() if path.name.endswith((".part", ".backup"))]


@pytest.mark.parametrize("is_served", [True, False])
def test_what_to_do_where_there_is_no_copy(start, tmp_path, database, journal_site, is_served):
    postgres = {"DHTWISTED_SERVER_CONTROL_SOCKET": str(tmp_path / "control"), "DHTWISTED_AUTH_SECRET": "s" * 40}
    journal = {"PYTHONPATH": path_of(journal_site, ROOT)}
    cases = [
        (("--storage", f"postgres:{database}"), postgres, "the storage is postgres:, use pg_dump, see docs/postgres.md"),
        (
            (*STORAGE, "--messages", "journal:m"),
            journal,
            "the storage of messages is journal:, which cannot be copied; use devicehive export",
        ),
        (("--storage", "memory:"), postgres, "the storage is memory:, whose data end with the server; use devicehive export"),
    ]
    for storage, environment, words in cases:
        server = start(*storage, **environment)
        if not is_served:
            server.terminate()
        told = run(tmp_path, "backup", "copy", storage=storage, **environment)
        # PostgreSQL is told of on the way: the tests have it without fsync.
        assert (told.returncode, told.stdout, words in told.stderr.splitlines()[-1]) == (1, "", True), told.stderr
        assert modes(tmp_path) == {}
        server.kill()


def test_a_key_that_is_given_stays_where_it_is(start, shell, tmp_path):
    given = {"DHTWISTED_AUTH_SECRET": "s" * 40}
    start(*STORAGE, **given)
    assert "The signing key is not in it: also keep a copy of auth.secret_file" in shell("backup", "copy").stderr
    assert modes(tmp_path) == {"copy": 0o600}


def test_a_storage_that_nobody_has_used(shell, tmp_path):
    assert "there is no data file" in failed(shell("backup", "copy"))
    (tmp_path / "hive.sqlite").touch()
    assert "has no users" in failed(shell("backup", "copy"))
    assert modes(tmp_path) == {}

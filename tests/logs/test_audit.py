"""The audit log itself: its beginning and end, what strangers can cause, a full disk."""

import shutil

import pytest_twisted
from twisted.internet.task import Clock
from twisted.logger import LogLevel, capturedLogs

from dhtwisted.logs.append_file import AppendFile
from dhtwisted.logs.audit import Audit
from dhtwisted.logs.line_limit import LINES_PER_WINDOW, WINDOW
from tests.support.auditing import about


@pytest_twisted.ensureDeferred
async def test_strangers_do_not_fill_the_disk(audited, audit_lines):
    stranger = audited.connect()
    for _ in range(LINES_PER_WINDOW + 9):
        await stranger.refused("user/delete", userId=1)
    assert len(audit_lines.records) == LINES_PER_WINDOW
    audited.clock.advance(WINDOW)
    await stranger.refused("user/delete", userId=1)
    limited, after = audit_lines.records[LINES_PER_WINDOW:]
    assert about(limited) == {"event": "audit/limited", "result": "failed", "of": "user/delete", "count": 9}
    assert after["event"] == "user/delete"


@pytest_twisted.ensureDeferred
async def test_a_full_disk_does_not_stop_the_server(audited, administrator, audit_lines):
    audit_lines.is_full = True
    with capturedLogs() as logs:
        for name in ("a1", "a2", "a3"):
            await administrator.call("network/insert", network={"name": name})
        audit_lines.is_full = False
        await administrator.call("network/insert", network={"name": "a4"})
    assert audited.server.audit.lost == 3
    assert [event["log_level"] for event in logs] == [LogLevel.error, LogLevel.warn]
    written, lost = audit_lines.records
    assert written["name"] == "a4"
    assert about(lost) == {"event": "audit/lost", "result": "failed", "count": 3}


def test_start_reload_and_stop(audit_lines):
    audit = Audit(audit_lines, Clock().seconds)
    audit.started(version="1")
    audit.reloaded(True, ["log.level"])
    audit.reloaded(False, [])
    audit.close()
    *records, closed = audit_lines.records
    assert [(record["event"], record["result"], record.get("changed")) for record in records] == [
        ("server/start", "success", None),
        ("server/reload", "success", ["log.level"]),
        ("server/reload", "failed", []),
        ("server/stop", "success", None),
    ]
    assert closed == "closed"


def test_a_file_that_cannot_be_followed(tmp_path):
    directory = tmp_path / "logs"
    directory.mkdir()
    audit = Audit(AppendFile(directory / "audit.log", 0o600))
    assert audit.problem() == ""
    (directory / "audit.log").unlink()
    assert audit.problem() == ""
    assert (directory / "audit.log").exists()
    shutil.rmtree(directory)
    assert audit.problem().startswith("its file was moved or deleted, and cannot be created again (")
    audit.close()
    assert audit.problem() == ""


def test_without_a_file_nothing_is_recorded():
    audit = Audit()
    audit.started()
    audit.reopen()
    audit.close()
    assert not audit.is_on

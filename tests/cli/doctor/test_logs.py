"""What the doctor says of the files of the logs."""

import os

import pytest

from dhtwisted.cli.doctor.logs import check_logs
from dhtwisted.config.settings import LogSettings, Settings
from dhtwisted.config.sources import Configuration


def check(**options):
    return [(finding.level, finding.topic) for finding in check_logs(Configuration(Settings(log=LogSettings(**options))))]


def test_without_files_there_is_nothing_to_say():
    assert check() == []


def test_files_that_can_be_written(tmp_path):
    path = tmp_path / "audit.log"
    assert ("ok", "audit log") in check(audit_file=str(path))
    path.touch(0o600)
    assert ("ok", "audit log") in check(audit_file=str(path), file=str(tmp_path / "a.log"))
    assert ("ok", "log") in check(audit_file=str(path), file=str(tmp_path / "a.log"))
    assert path.read_text() == ""
    path.chmod(0o644)
    assert ("warning", "audit log") in check(audit_file=str(path))


def test_files_that_cannot_be_written(tmp_path):
    assert check(audit_file=str(tmp_path / "nowhere" / "audit.log")) == [("wrong", "audit log")]
    assert check(file=str(tmp_path)) == [("wrong", "log")]
    (finding,) = check_logs(Configuration(Settings(log=LogSettings(audit_file=str(tmp_path)))))
    assert "is a directory" in finding.text and "chmod" not in finding.text


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_files_of_others(tmp_path):
    tmp_path.chmod(0o500)
    assert check(audit_file=str(tmp_path / "audit.log")) == [("wrong", "audit log")]

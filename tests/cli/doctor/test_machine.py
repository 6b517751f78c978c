"""What the doctor says of the machine."""

import os
import resource
import time

import pytest

from dhtwisted.cli.doctor import machine
from dhtwisted.config.settings import LimitSettings, LogSettings, Settings, StorageSettings
from dhtwisted.config.sources import Configuration


def with_connections(count, directory="."):
    storage = StorageSettings(provider=f"file:{directory}/hive.sqlite")
    return Configuration(Settings(limits=LimitSettings(connections=count), storage=storage, log=LogSettings(file=f"{directory}/hive.log")))


def test_the_clock(monkeypatch):
    now = int(time.time() * 1000)
    assert machine.check_clock([])[0].level == "ok"
    assert machine.check_clock([now - 5, now + 30_000])[0].level == "ok"
    assert machine.check_clock([now + 3_600_000])[0].level == "warning"
    monkeypatch.setattr(machine.time, "time", lambda: 60.0)
    assert machine.check_clock([])[0].level == "wrong"


def test_open_files(tmp_path):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert machine.check_files(with_connections(10, tmp_path))[0].level == "ok"
    asked = hard - 1 if hard == LimitSettings.connections else hard
    few = machine.check_files(with_connections(asked, tmp_path))[0]
    assert few.level == ("ok" if hard == resource.RLIM_INFINITY else "warning")
    assert machine.check_files(with_connections(0, tmp_path))[0].level == "ok"


def test_too_few_open_files_for_a_number_that_nobody_asked_for_are_no_warning(monkeypatch, tmp_path):
    monkeypatch.setattr(machine.resource, "prlimit", lambda *_: (200, 200))
    (finding,) = machine.check_files(with_connections(LimitSettings.connections, tmp_path))
    assert finding.level == "ok"
    assert "may have 200 open, so at most 104 clients are let in" in finding.text


@pytest.mark.parametrize(
    ("free", "level"), [(2 * machine.LITTLE_SPACE, "ok"), (machine.LITTLE_SPACE - 1, "warning"), (machine.NO_SPACE - 1, "wrong")]
)
def test_room_on_a_disk_is_told_once(monkeypatch, tmp_path, free, level):
    usage = machine.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda path: usage._replace(free=free))
    (finding,) = machine.check_disks(with_connections(1, tmp_path))
    assert (finding.level, finding.topic) == (level, "storage")


def test_memory():
    assert machine.check_memory(with_connections(1000))[0].level == "ok"
    assert machine.check_memory(with_connections(2**31 - 1))[0].level == "warning"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a directory away")
def test_root_is_not_the_one_to_ask(tmp_path):
    assert machine.check_user(with_connections(1, tmp_path)) == []
    os.chown(tmp_path, 12345, 12345)
    (finding,) = machine.check_user(with_connections(1, tmp_path))
    assert finding.level == "warning"
    assert "12345" in finding.text

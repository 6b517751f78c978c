"""A copy of the data file, made beside a server at work, as docs/operation-service.md shows it."""

import re
import sqlite3

import pytest

from tests.packages import ROOT
from tests.system.load import Load

pytestmark = pytest.mark.slow


def test_a_copy_made_under_load_is_whole(start, tmp_path):
    (statement,) = re.findall(r'"(VACUUM INTO [^"]+)"', (ROOT / "docs" / "operation-service.md").read_text())
    server = start("--storage", "file:hive.sqlite")
    client = server.connect()
    client.call("device/save", deviceId="d1", device={"name": "kept"})
    with Load([server.url()], writers=3) as load:
        load.go_on(100)
        connection = sqlite3.connect(tmp_path / "hive.sqlite")
        connection.execute(statement.replace("/backup/", f"{tmp_path}/copy-").replace("-$(date +%F)", ""))
        connection.close()
        load.go_on(100)
        report = load.report()
    assert report.faults == {}
    assert server.terminate() == 0
    copy = start("--storage", "file:copy-devicehive.sqlite")
    assert copy.connect().call("device/get", deviceId="d1")["device"]["name"] == "kept"
    assert "Made at first start" not in copy.log

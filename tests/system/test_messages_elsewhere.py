"""Messages in a stranger's storage, which an installed package declares by entry point; everything else in the server's own."""

import pytest

from tests.support.packages import ROOT, path_of
from tests.support.servers.process import ServerProcess

pytestmark = [pytest.mark.slow, pytest.mark.lowest]


@pytest.fixture
def start_with_journal(journal_site, tmp_path):
    servers = []

    def start():
        servers.append(ServerProcess(tmp_path, "--messages", "journal:messages.journal", PYTHONPATH=path_of(journal_site, ROOT)))
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


def test_messages_are_in_the_journal_and_outlive_a_kill(start_with_journal, tmp_path):
    server = start_with_journal()
    client = server.connect()
    client.call("device/save", deviceId="d-1", device={"name": "d-1", "networkId": 1, "deviceTypeId": 1})
    client.call("notification/insert", deviceId="d-1", notification={"notification": "temperature", "parameters": {"celsius": 21.5}})
    server.kill()
    assert b"temperature" in (tmp_path / "messages.journal").read_bytes()
    assert not [path for path in tmp_path.glob("devicehive.sqlite*") if path.is_file() and b"temperature" in path.read_bytes()]

    client = start_with_journal().connect()
    listed = client.call("notification/list", deviceId="d-1", notification="temperature")["notifications"]
    assert [notification["parameters"] for notification in listed] == [{"celsius": 21.5}]
    client.close()

"""What the doctor says of servers that work on the same database."""

import pytest
import pytest_twisted

from dhtwisted.cli.doctor.nodes import check_nodes
from dhtwisted.cli.doctor.providers import examine_providers
from dhtwisted.config.settings import AuthSettings, BusSettings, Settings, StorageSettings
from dhtwisted.config.sources import Configuration
from dhtwisted.model import Node
from dhtwisted.providers.jwt.signing_key import fingerprint

pytestmark = [pytest.mark.slow, pytest.mark.lowest]

KEY = "k" * 40
SAME, OTHER = fingerprint(KEY.encode()), fingerprint(b"o" * 40)


def look(database, bus):
    settings = Settings(
        storage=StorageSettings(provider=f"postgres:{database}"),
        bus=BusSettings(provider=f"postgres:{database}" if bus else "local:"),
        auth=AuthSettings(secret=KEY),
    )
    configuration = Configuration(settings)
    return [(finding.level, finding.text) for finding in check_nodes(configuration, examine_providers(configuration))]


GOOD, ALONE, STRANGER = Node(key=SAME, has_bus=True), Node(key=SAME, has_bus=False), Node(key=OTHER, has_bus=True)


@pytest.mark.parametrize(
    ("bus", "nodes", "words"),
    [
        (True, [GOOD], ["1 server works on the database"]),
        (True, [GOOD, GOOD], ["2 servers work on the database, and go together"]),
        (False, [ALONE], ["1 server works on the database"]),
        (True, [STRANGER], ["with another signing key"]),
        (True, [GOOD, STRANGER], ["with another signing key"]),
        (True, [GOOD, ALONE], ["one has no bus"]),
        (False, [GOOD], ["is local:, and 1 server works"]),
        (False, [ALONE, ALONE], ["is local:, and 2 servers work"]),
        (False, [STRANGER], ["with another signing key", "is local:"]),
    ],
)
@pytest_twisted.ensureDeferred
async def test_servers_and_the_configuration(open_storage, database, bus, nodes, words):
    for node in nodes:
        await (await open_storage()).announce(node)
    findings = look(database, bus)
    assert len(findings) == len(words)
    for (level, text), part in zip(findings, words, strict=True):
        assert part in text
        assert (level == "ok") == (part.endswith(("database", "together")))


@pytest_twisted.ensureDeferred
async def test_no_servers(open_storage, database):
    assert look(database, False) == [], "it has no tables"
    await (await open_storage()).close()
    assert look(database, False) == []


def test_a_database_that_does_not_answer_is_a_finding_about_the_storage():
    assert look("host=127.0.0.1 port=1", False) == []

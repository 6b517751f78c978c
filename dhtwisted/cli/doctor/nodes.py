"""Other servers on the same database: do they and this configuration go together?"""

from collections.abc import Sequence

from dhtwisted.cli.doctor.findings import Finding, ok, wrong
from dhtwisted.cli.doctor.providers import STORAGES, Examined, specification_of
from dhtwisted.config.sources import Configuration
from dhtwisted.model import Node

TOPIC = "nodes"


def check_nodes(configuration: Configuration, examined: Examined) -> list[Finding]:
    """Compare the servers that work on a database with each other and with this configuration. A database that does not answer is a
    finding about the storage.
    """
    # Users and messages may be in the same database.
    nodes = {
        specification_of(configuration.settings, option): examination.nodes
        for option, examination in examined.examinations.items()
        if option in STORAGES
    }
    has_bus = configuration.settings.bus.provider.partition(":")[0] != "local"
    own = Node(key=examined.key, has_bus=has_bus)
    return [finding for found in nodes.values() if found for finding in _judge(configuration, own, found)]


def _judge(configuration: Configuration, own: Node, nodes: Sequence[Node]) -> list[Finding]:
    """Compare servers with each other and with the configuration. One of them may run with this configuration.

    :param own: a server with this configuration.
    :param nodes: the servers, one at least.
    """
    count = f"{len(nodes)} {'server works' if len(nodes) == 1 else 'servers work'} on the database"
    findings = []
    if len({node.key for node in (own, *nodes) if node.key}) > 1:
        cure = "give all the same, in auth.secret_file or DHTWISTED_AUTH_SECRET, and restart them"
        findings.append(wrong(TOPIC, f"{count}, with another signing key than each other or than is configured here; {cure}"))
    bus = configuration.place("bus.provider")
    if not own.has_bus and (len(nodes) > 1 or nodes[0].has_bus):
        findings.append(wrong(TOPIC, f"{bus}: is local:, and {count}; set it to postgres:DSN on all of them"))
    elif own.has_bus and not all(node.has_bus for node in nodes):
        findings.append(wrong(TOPIC, f"{count}, and one has no bus; set its bus.provider as in {bus}, and restart it"))
    return findings or [ok(TOPIC, f"{count}, and go together" if len(nodes) > 1 else count)]

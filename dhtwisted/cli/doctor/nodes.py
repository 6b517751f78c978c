"""Other servers on the same database: do they and this configuration go together?"""

from dhtwisted.cli.doctor.findings import ok, wrong
from dhtwisted.cli.doctor.providers import OWN_KEYS, STORAGES, build_storages, specification_of
from dhtwisted.errors import ConfigurationError
from dhtwisted.model import Node
from dhtwisted.providers.jwt import signing_key

TOPIC = "nodes"


def check_nodes(configuration):
    """Look for servers that work on a database that is configured. What cannot be asked is a finding about the storage."""
    settings, findings = configuration.settings, []
    for specification in {specification_of(settings, option): None for option in STORAGES}:
        name, _, dsn = specification.partition(":")
        if name == "postgres":
            nodes = _find_nodes(dsn)
            findings += _judge(configuration, nodes) if nodes else []
    return findings


def _find_nodes(dsn):
    try:
        from dhtwisted.providers.postgres.inspection import find_nodes

        return find_nodes(dsn)
    except (ImportError, ValueError):
        return []


def _judge(configuration, nodes):
    """Compare servers with each other and with the configuration, by which one of them may run.

    :param nodes: a list of :class:`~dhtwisted.model.Node`, not empty.
    """
    own, count = (
        _configured(configuration.settings),
        f"{len(nodes)} {'server works' if len(nodes) == 1 else 'servers work'} on the database",
    )
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


def _configured(settings):
    storage = build_storages(settings).storage
    key = None
    if settings.auth.provider.partition(":")[0] == OWN_KEYS and storage is not None:
        try:
            key = signing_key.look_for_key(settings, storage)
        except ConfigurationError:
            key = None  # It is a finding about the key.
    has_bus = settings.bus.provider.partition(":")[0] != "local"
    return Node(key=signing_key.fingerprint(key) if key else 0, has_bus=has_bus)

"""``devicehive --check-config``: checks a configuration without the network, and without making a file."""

from dhtwisted.cli.doctor import configuration as sources
from dhtwisted.cli.doctor import keys, logs, mqtt, network
from dhtwisted.cli.doctor.findings import OK, Finding
from dhtwisted.cli.doctor.providers import check_providers
from dhtwisted.config.sources import Configuration

NOT_LOOKED_AT = "Not looked at: the content of data files, databases, ports, the machine; devicehive doctor does that."


def check(configuration: Configuration) -> list[Finding]:
    """Check providers, files, directories and endpoints.

    :returns: the warnings, and what is wrong.
    """
    findings = [
        *sources.check_unknown_variables(configuration),
        *check_providers(configuration),
        *keys.check_certificates(configuration),
        *network.check_sockets(configuration),
        *mqtt.check_mqtt(configuration),
        *logs.check_logs(configuration),
    ]
    return [finding for finding in findings if finding.level != OK]

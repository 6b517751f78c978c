"""``devicehive --check-config``: what can be said of a configuration where it lies, without a network and without making anything."""

from dhtwisted.cli.doctor import configuration as sources
from dhtwisted.cli.doctor import keys, logs, network
from dhtwisted.cli.doctor.findings import OK
from dhtwisted.cli.doctor.providers import check_providers

NOT_LOOKED_AT = "Not looked at: the content of data files, databases, ports, the machine; devicehive doctor does that."


def check(configuration):
    """Look at providers, files, directories and endpoints.

    :param configuration: a :class:`~dhtwisted.config.sources.Configuration`.
    :returns: a list of :class:`~dhtwisted.cli.doctor.findings.Finding` that are not well.
    """
    findings = [
        *sources.check_strangers(configuration),
        *check_providers(configuration),
        *keys.check_certificates(configuration),
        *network.check_sockets(configuration),
        *logs.check_logs(configuration),
    ]
    return [finding for finding in findings if finding.level != OK]

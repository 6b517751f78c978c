"""``devicehive --check-config``: what can be said of a configuration where it lies, without a network and without making anything."""

from dhtwisted.doctor import configuration as sources
from dhtwisted.doctor import keys, logs, network
from dhtwisted.doctor.findings import OK
from dhtwisted.doctor.providers import check_providers

NOT_LOOKED_AT = "Not looked at: the content of data files, databases, ports, the machine; devicehive doctor does that."


def check(configuration):
    """Look at providers, files, directories and endpoints.

    :param configuration: a :class:`~dhtwisted.config_sources.Configuration`.
    :returns: a list of :class:`~dhtwisted.doctor.findings.Finding` that are not well.
    """
    findings = [
        *sources.check_strangers(configuration),
        *check_providers(configuration),
        *keys.check_secret(configuration),
        *keys.check_certificates(configuration),
        *network.check_sockets(configuration),
        *logs.check_logs(configuration),
    ]
    return [finding for finding in findings if finding.level != OK]

"""All checks of ``devicehive doctor``, in order, and its exit status."""

import sys
from collections.abc import Callable

from dhtwisted.cli.doctor import configuration as sources
from dhtwisted.cli.doctor import keys, logs, machine, mqtt, network, nodes, proxies, server
from dhtwisted.cli.doctor.findings import WARNING, WRONG, Finding, wrong
from dhtwisted.cli.doctor.providers import AUTH, BUS, MESSAGES, STORAGE, examine_providers
from dhtwisted.cli.options import CommandLine
from dhtwisted.config.sources import Configuration
from dhtwisted.errors import ConfigurationError


def run(command_line: CommandLine) -> int:
    """Examine everything, and write a line for each finding.

    :returns: the exit status: 1 if anything is wrong, else 0.
    """
    findings = examine(command_line.read_configuration, command_line["config"])
    for finding in findings:
        sys.stdout.write(f"{finding}\n")
    counts = {level: sum(finding.level == level for finding in findings) for level in (WRONG, WARNING)}
    sys.stdout.write(f"{len(findings)} findings, {counts[WRONG]} of them wrong, {counts[WARNING]} warnings\n")
    return 1 if counts[WRONG] else 0


def examine(read_configuration: Callable[[], Configuration], path: str | None = None) -> list[Finding]:
    """Examine everything.

    :param read_configuration: returns the configuration, or raises ``ConfigurationError``.
    :param path: of the configuration file, if there is one.
    """
    try:
        configuration = read_configuration()
    except ConfigurationError as error:
        return [wrong("configuration", str(error)), *machine.check_clock([])]
    served, state = server.check_server(configuration)
    examined = examine_providers(configuration, state["problems"].values() if state else ())
    return [
        *sources.check_sources(configuration, path),
        *sources.check_passwords(configuration),
        *machine.check_user(configuration),
        *served,
        *network.check_endpoints(configuration, examined.is_served if state is None else True),
        *proxies.check_proxies(configuration),
        *examined.checked,
        *examined.about(STORAGE, MESSAGES, BUS),
        *nodes.check_nodes(configuration, examined),
        *examined.about(AUTH),
        *keys.check_password_file(configuration),
        *keys.check_certificates(configuration),
        *mqtt.check_mqtt(configuration, examined.logins),
        *logs.check_logs(configuration),
        *machine.check_clock(examined.newest),
        *machine.check_disks(configuration),
        *machine.check_files(configuration, examined.process),
        *machine.check_memory(configuration),
    ]

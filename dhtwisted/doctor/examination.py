"""All of the doctor's questions, in order, and the exit status."""

import sys

from dhtwisted.doctor import data, keys, logs, machine, network
from dhtwisted.doctor.findings import WARNING, WRONG, ok, wrong
from dhtwisted.errors import ConfigurationError


def run(options):
    """Examine, write a line for each finding, and end the process: with status 1 if anything is wrong, else 0.

    :param options: a parsed :class:`~dhtwisted.tap.Options`.
    """
    findings = examine(options.read_settings, options["config"])
    for finding in findings:
        sys.stdout.write(f"{finding}\n")
    counts = {level: sum(finding.level == level for finding in findings) for level in (WRONG, WARNING)}
    sys.stdout.write(f"{len(findings)} findings, {counts[WRONG]} of them wrong, {counts[WARNING]} warnings\n")
    raise SystemExit(1 if counts[WRONG] else 0)


def examine(read_settings, path=None):
    """Look at everything.

    :param read_settings: gives the settings, or raises ``ConfigurationError``.
    :param path: the file that they come from, if any.
    :returns: a list of :class:`~dhtwisted.doctor.findings.Finding`.
    """
    try:
        settings = read_settings()
    except ConfigurationError as error:
        return [wrong("configuration", str(error)), *machine.check_clock([])]
    stored, times = data.check_storages(settings)
    return [
        ok("configuration", f"{path or 'no file'}: is good"),
        *keys.check_configuration_file(settings, path),
        *machine.check_user(settings),
        *network.check_endpoints(settings, data.is_served(settings)),
        *stored,
        *keys.check_secret(settings),
        *keys.check_password_file(settings),
        *keys.check_certificates(settings),
        *logs.check_logs(settings),
        *machine.check_clock(times),
        *machine.check_files(settings),
        *machine.check_memory(settings),
    ]

"""The configuration: where its values come from, which variables are unknown, and who can read its passwords."""

import os
import stat

from dhtwisted.cli.doctor.findings import Finding, ok, warning
from dhtwisted.config.sources import COMMAND_LINE, FILE, Configuration, Source

TOPIC = "configuration"


def check_sources(configuration: Configuration, path: str | None) -> list[Finding]:
    """Say where the values in force come from, and which variables look like options but are none.

    :param path: of the configuration file, if there is one.
    """
    names = {source.name: None for sources in configuration.sources.values() for source in sources if source.kind != FILE}
    findings = [ok(TOPIC, f"{', '.join([path or 'no file', *names])}: is good")]
    for option, (*others, winner) in configuration.sources.items():
        if others:
            overridden = ", ".join(source.name for source in others)
            findings.append(ok(TOPIC, f"{option}: the value of {winner.name} is in force, not that of {overridden}"))
    return findings + check_unknown_variables(configuration)


def check_unknown_variables(configuration: Configuration) -> list[Finding]:
    """Name the variables of the environment that look like options but are none."""
    return [warning(TOPIC, line) for line in configuration.unknown_variables]


def check_passwords(configuration: Configuration) -> list[Finding]:
    """Check who can read the passwords of the configuration."""
    places: dict[Source, list[str]] = {}
    for option, sources in configuration.sources.items():
        for source in sources:
            if source.is_secret:
                places.setdefault(source, []).append(option)
    findings = []
    for source, options in places.items():
        named = " and ".join(options)
        if source.kind == FILE and stat.S_IMODE(os.stat(source.name).st_mode) & 0o007:
            text = f"{source.name}: everybody may read it, and {named} has a password; run: chmod o= {source.name}"
            findings.append(warning(TOPIC, text))
        if source.kind == COMMAND_LINE:
            variable = f"DHTWISTED_{options[0]}".replace(".", "_").upper()
            text = f"{source.name}: has a password, which everybody on this machine sees in the list of processes"
            findings.append(warning(TOPIC, f"{text}; give it in the configuration file or in {variable}"))
    return findings

"""The files of the logs: whether they can be written, and who may read them."""

import os
import stat

from dhtwisted.cli.doctor.findings import Finding, ok, warning, wrong
from dhtwisted.config.settings import Settings
from dhtwisted.config.sources import Configuration
from dhtwisted.kit.private_files import access_problem


def check_logs(configuration: Configuration) -> list[Finding]:
    """Check the files that ``[log]`` names."""
    findings: list[Finding] = []
    for topic, option, path in log_files(configuration.settings):
        reason = _obstacle(os.path.abspath(path))
        findings.append(wrong(topic, f"{configuration.place(option)}: {reason}") if reason else ok(topic, f"{path}: can be written"))
        if topic == "audit log" and os.path.isfile(path) and stat.S_IMODE(os.stat(path).st_mode) & 0o077:
            findings.append(warning(topic, f"{path}: others may read it, and it has logins and addresses; run: chmod 600 {path}"))
    return findings


def log_files(settings: Settings) -> list[tuple[str, str, str]]:
    """The topic, the option and the path of each file that is configured."""
    files = (("log", "log.file", settings.log.file), ("audit log", "log.audit_file", settings.log.audit_file))
    return [(topic, option, path) for topic, option, path in files if path]


def _obstacle(path: str) -> str | None:
    directory = os.path.dirname(path)
    if not os.path.isdir(directory):
        return f"{path}: there is no directory {directory}; make it, or name another"
    if os.path.isdir(path):
        return f"{path}: is a directory; name a file in it"
    if os.path.exists(path):
        return access_problem(path, os.W_OK)
    return access_problem(directory, os.W_OK | os.X_OK)

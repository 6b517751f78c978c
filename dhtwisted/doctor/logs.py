"""The files of the logs: may they be written, and who may read them."""

import os
import stat

from dhtwisted.doctor.data import check_space
from dhtwisted.doctor.findings import ok, warning, wrong


def check_logs(settings):
    """Look at the files that ``[log]`` names."""
    findings = []
    for topic, path in (("log", settings.log.file), ("audit log", settings.log.audit_file)):
        if path:
            findings += _check_file(topic, os.path.abspath(path))
    path = settings.log.audit_file
    if path and os.path.isfile(path) and stat.S_IMODE(os.stat(path).st_mode) & 0o077:
        findings.append(warning("audit log", f"{path}: others may read it, and it has logins and addresses; run: chmod 600 {path}"))
    return findings


def _check_file(topic, path):
    directory = os.path.dirname(path)
    if not os.path.isdir(directory):
        return [wrong(topic, f"{path}: there is no directory {directory}; make it, or name another")]
    if os.path.isdir(path):
        return [wrong(topic, f"{path}: is a directory; name a file in it")]
    if os.path.exists(path) and not os.access(path, os.W_OK):
        return [wrong(topic, f"{path}: this user may not write it; chown it to the server's user")]
    if not os.access(directory, os.W_OK | os.X_OK):
        return [wrong(topic, f"{directory}: this user may not make a file there; chown it to the server's user")]
    return [ok(topic, f"{path}: can be written"), check_space(topic, directory)]

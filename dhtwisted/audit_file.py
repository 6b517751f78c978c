"""Opens the audit log that the configuration names, for the server and for commands of the shell."""

import time

from dhtwisted.audit import Audit
from dhtwisted.errors import ConfigurationError
from dhtwisted.logs.append_file import AppendFile

MODE = 0o600


def open_audit(path):
    """Open the audit log.

    :param path: ``[log] audit_file``; empty for none.
    :returns: an :class:`~dhtwisted.audit.Audit`.
    :raises ConfigurationError: it cannot be written.
    """
    if not path:
        return Audit()
    try:
        return Audit(AppendFile(path, MODE), time.time)
    except OSError as error:
        raise ConfigurationError(f"log.audit_file: {path} cannot be written ({error.strerror}); name another, or none") from error

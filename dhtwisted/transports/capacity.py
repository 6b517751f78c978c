"""The number of connections that the server accepts: up to the configured limit and the limit of open files."""

import resource

from twisted.logger import Logger

from dhtwisted.config.settings import LimitSettings

_log = Logger()

OTHER_FILES = 96
"""Descriptors that are not for clients: 16 for connections that are being refused, 16 for metrics, 16 for the control socket; the rest for
log, storage, database, listening sockets and short uses. Each of these has its own limit, so none can use all descriptors.
"""


def raise_file_limit(connections: int) -> None:
    """Raise the limit of open files of this process as far as possible, and log it.

    :param connections: the configured limit of connections, 0 for no limit.
    """
    was, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:
        # A sandbox may forbid it, and some systems report a hard limit that they do not grant.
        _log.warn("The limit of open files cannot be raised: {error}", error=str(error))
    now, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    _log.debug("At most {now} files may be open (it was {was})", now=now, was=was)
    if not is_too_few_files(now, connections):
        return
    most = most_connections(connections)
    if connections == LimitSettings.connections:
        _log.info(
            "At most {most} clients are let in, since the server may have {now} files open; LimitNOFILE= or ulimit -Hn raises it",
            most=most,
            now=now,
        )
    else:
        # The number is configured.
        _log.warn(
            "{now} open files are too few for {connections} connections, so {most} are let in: "
            "raise the limit (LimitNOFILE=), or lower limits.connections",
            now=now,
            connections=connections,
            most=most,
        )


def is_too_few_files(files: int, connections: int) -> bool:
    """Whether ``files`` open files are too few for ``connections``.

    :param connections: 0 for no limit.
    """
    return files != resource.RLIM_INFINITY and files < connections + OTHER_FILES


def most_connections(connections: int) -> int:
    """The number of connections to accept. :data:`OTHER_FILES` descriptors are kept free: without them the storage could not read.

    :param connections: the configured limit, 0 for no limit.
    :returns: a number, 0 for no limit.
    """
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return connections
    most = max(1, files - OTHER_FILES)
    return min(connections, most) if connections else most

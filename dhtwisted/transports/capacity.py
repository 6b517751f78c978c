"""How many clients are let in: as many as the limit says, and as there are open files for."""

import resource

from twisted.logger import Logger

from dhtwisted.config.settings import LimitSettings

_log = Logger()

OTHER_FILES = 96
"""Descriptors that are no clients: 16 who are being refused, 16 at the endpoints of metrics, 16 at the control socket; and those of log,
storage, database, sockets that listen, and some for the moment. Each of these has a bound of its own, so that nobody can take them all.
"""


def raise_file_limit(connections: int) -> None:
    """Raise the number of files that this process may have open as far as it may, and log it.

    :param connections: how many clients there may be, 0 for any number.
    """
    was, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:
        # A sandbox may forbid it, and some systems name a hard limit that they do not grant.
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
        # Somebody has asked for so many.
        _log.warn(
            "{now} open files are too few for {connections} connections, so {most} are let in: "
            "raise the limit (LimitNOFILE=), or lower limits.connections",
            now=now,
            connections=connections,
            most=most,
        )


def is_too_few_files(files: int, connections: int) -> bool:
    """Whether so many open files do not suffice for so many clients.

    :param connections: 0 for any number.
    """
    return files != resource.RLIM_INFINITY and files < connections + OTHER_FILES


def most_connections(connections: int) -> int:
    """How many clients are let in: no more than there are files for, since without :data:`OTHER_FILES` the storage could not read any more.

    :param connections: how many there may be, 0 for any number.
    :returns: a number, 0 for any.
    """
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if files == resource.RLIM_INFINITY:
        return connections
    most = max(1, files - OTHER_FILES)
    return min(connections, most) if connections else most

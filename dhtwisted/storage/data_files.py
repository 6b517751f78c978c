"""The files of a storage in a file, seen from outside: SQLite is not asked. It imports little: the process that writes is small."""

import os

from dhtwisted.private_files import missing_right


def obstacle(path):
    """What keeps a data file from being opened, or made. Nothing is.

    :param path: of the data file.
    :returns: path, reason and cure in one line; ``None`` for nothing.
    """
    directory = os.path.dirname(path)
    if not os.path.isdir(directory):
        return f"{path}: there is no directory {directory}; make it, or name another"
    if os.path.exists(path) and not os.path.isfile(path):
        return f"{path}: is no file; name another"
    reason = missing_right(directory, os.W_OK | os.X_OK)
    for file in (path, f"{path}.lock"):
        if reason is None and os.path.exists(file):
            reason = missing_right(file, os.R_OK | os.W_OK)
    return reason

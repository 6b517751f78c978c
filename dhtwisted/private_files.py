"""Files of the server, made so that it can open them whoever made them.

An operator works as root now and then: moves data, or starts the server by hand. What root makes where another account works belongs to
that account, as SQLite does it for the files beside its own.
"""

import os


def open_or_make(path, flags, mode=0o600):
    """Open a file; make it if it is missing.

    :param flags: those of ``os.open``, without ``O_CREAT``.
    :param mode: who may read and write a file that is made.
    :returns: a descriptor.
    :raises OSError: it cannot be opened.
    """
    flags |= os.O_CREAT | os.O_CLOEXEC
    try:
        # With O_EXCL no link is followed: the owner of the directory could have root give him a file elsewhere.
        descriptor = os.open(path, flags | os.O_EXCL, mode)
    except FileExistsError:
        return os.open(path, flags, mode)
    give_to_owner_of(os.path.dirname(path) or ".", descriptor)
    return descriptor


def give_to_owner_of(directory, descriptor):
    """Give a new file to whom its directory belongs, if this is root.

    :raises OSError: the file system does not permit it.
    """
    owner = os.stat(directory)
    if os.geteuid() == 0 and owner.st_uid:
        os.fchown(descriptor, owner.st_uid, owner.st_gid)

"""Files of the server, made so that it can open them whoever made them.

An operator works as root now and then: moves data, or starts the server by hand. What root makes where another account works belongs to
that account, as SQLite does it for the files beside its own.
"""

import os
import pwd


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


def missing_right(path, mode):
    """Why this user may not use a file or a directory that is there.

    :param mode: what is to be done with it, ``os.R_OK``, ``os.W_OK``, ``os.X_OK`` or several of them.
    :returns: the path, the reason and the cure in one line; ``None`` when nothing is in the way.
    """
    if os.access(path, mode, effective_ids=os.access in os.supports_effective_ids):
        return None
    if mode & os.W_OK and os.statvfs(path).f_flag & os.ST_RDONLY:
        return f"{path}: its file system can only be read; mount it for writing, or name a place elsewhere"
    deed = "read and write it" if mode & os.W_OK and mode & os.R_OK else "write there" if mode & os.W_OK else "read it"
    owner, me = os.stat(path).st_uid, os.geteuid()
    if owner == me:
        return f"{path}: its owner may not {deed}; run: chmod u+rw{'x' * os.path.isdir(path)} {path}"
    return f"{path}: {_name(me)} may not {deed}, and it belongs to {_name(owner)}; run this as the server's user, who must be its owner"


def _name(user):
    try:
        return f"user {pwd.getpwuid(user).pw_name}"
    except KeyError:
        return f"user id {user}"

"""Who runs PostgreSQL, which refuses to be root."""

import os
import pwd
import stat
from pathlib import Path


class Account:
    """The account of this process; an unprivileged one if that is root.

    :ivar options: for ``subprocess.Popen``.
    """

    def __init__(self):
        self._entry = _unprivileged() if os.geteuid() == 0 else None
        self.options = {"user": self._entry.pw_uid, "group": self._entry.pw_gid, "extra_groups": []} if self._entry else {}

    def own(self, path):
        """Give a file or directory to the account."""
        if self._entry:
            os.chown(path, self._entry.pw_uid, self._entry.pw_gid)

    def reaches(self, path):
        """Whether the account may pass through a directory and all above it."""
        path = Path(path).resolve()
        return not self._entry or all(self._passes(place.stat()) for place in (path, *path.parents))

    def _passes(self, status):
        return status.st_mode & (stat.S_IXUSR if status.st_uid == self._entry.pw_uid else stat.S_IXOTH)


def _unprivileged():
    accounts = {entry.pw_name: entry for entry in reversed(pwd.getpwall()) if entry.pw_uid}
    return accounts.get("nobody") or next(reversed(accounts.values()))

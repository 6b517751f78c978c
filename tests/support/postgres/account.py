"""The account that runs PostgreSQL, which refuses to run as root."""

import os
import pwd
import stat
from pathlib import Path
from typing import Any


class Account:
    """The account of this process, or an unprivileged one if this process runs as root.

    :ivar options: for ``subprocess.Popen``.
    """

    def __init__(self) -> None:
        self._entry = _unprivileged() if os.geteuid() == 0 else None
        self.options: dict[str, Any] = {"user": self._entry.pw_uid, "group": self._entry.pw_gid, "extra_groups": []} if self._entry else {}

    def own(self, path: Path) -> None:
        """Give a file or directory to the account."""
        if self._entry:
            os.chown(path, self._entry.pw_uid, self._entry.pw_gid)

    def reaches(self, path: str | Path) -> bool:
        """Whether the account may pass through a directory and all above it."""
        path = Path(path).resolve()
        return all(self._passes(place.stat()) for place in (path, *path.parents))

    def _passes(self, status: os.stat_result) -> bool:
        entry = self._entry
        return entry is None or bool(status.st_mode & (stat.S_IXUSR if status.st_uid == entry.pw_uid else stat.S_IXOTH))


def _unprivileged() -> pwd.struct_passwd:
    accounts = {entry.pw_name: entry for entry in reversed(pwd.getpwall()) if entry.pw_uid}
    return accounts.get("nobody") or next(reversed(accounts.values()))

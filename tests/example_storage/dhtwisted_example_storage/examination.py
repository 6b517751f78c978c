"""What ``devicehive doctor`` says of a journal."""

import fcntl
import os

from dhtwisted.errors import UNREADABLE
from dhtwisted.model import Examination, Finding
from dhtwisted_example_storage.journal import complete_lines, decode_line


def examine_journal(path, place):
    """Read a journal from outside, also while a server appends to it.

    :param place: where the operator configures the path, in words.
    """
    if not os.path.isdir(os.path.dirname(path)):
        cure = "make it, or name another file"
        return Examination(findings=[Finding("wrong", f"{place}: there is no directory {os.path.dirname(path)}", cure)])
    if not os.path.exists(path):
        return Examination(findings=[Finding("ok", f"{path}: is made at the first start")])
    newest, size = None, 0
    try:
        with open(path, "rb") as file:
            is_served = _is_locked(file)
            for line in complete_lines(file):
                newest = max(newest or 0, decode_line(line).now)
                size += len(line)
    except OSError as error:
        finding = Finding("wrong", f"{path}: cannot be read ({error.strerror})", "run this as the user of the server")
        return Examination(findings=[finding])
    except UNREADABLE:
        finding = Finding("wrong", f"{path}: is damaged at byte {size}", "stop the server, and put back a copy of the journal")
        return Examination(findings=[finding], is_served=is_served)
    use = "a server works on it" if is_served else "no server works on it now"
    return Examination(findings=[Finding("ok", f"{path}: {size} bytes; {use}")], newest=newest, is_served=is_served)


def _is_locked(file):
    """Whether a server has the journal. The lock of this look ends when the file is closed."""
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(file, fcntl.LOCK_UN)
    return False

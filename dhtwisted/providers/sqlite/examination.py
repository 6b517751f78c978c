"""What ``devicehive doctor`` says of a data file: see :meth:`dhtwisted.interfaces.IExaminableProvider.examine`."""

import os
import stat
from collections.abc import Iterator, Sequence

from dhtwisted.kit.examination import login_findings, schema_finding
from dhtwisted.model import Examination, Finding
from dhtwisted.providers.sqlite.data_files import MARK, loss, open_problem
from dhtwisted.providers.sqlite.inspection import (
    DataFacts,
    ForeignFile,
    damage_of,
    has_unread_log,
    holder_of,
    inspect_file,
    logins_of,
    lost_files,
)
from dhtwisted.providers.sqlite.proof import start_problem
from dhtwisted.providers.sqlite.row_search import damaged_rows

RESTORE = "stop the server, keep a copy of the file and its -wal, and restore a backup"
_UNREAD = "not all of its records were looked at (it is large, or of another schema): devicehive backup looks at all"


def examine_file(path: str, place: str) -> Examination:
    """Look at a data file and its directory.

    :param path: absolute, without symbolic links.
    :param place: where the file is named, in words.
    """
    lost = lost_files(path)
    if lost is not None:
        server, suffix = lost
        finding = Finding("wrong", f"{loss(path, suffix)} (the server has process id {server})")
        return Examination(findings=[finding], is_served=True, process=_number(server))
    holder = holder_of(path)
    reason, newest, logins = open_problem(path), None, None
    if reason is not None:
        findings = [Finding("wrong", f"{place}: {reason}")]
    elif not os.path.exists(path):
        findings = [Finding("ok", f"{path}: is made at the first start")]
    elif has_unread_log(path):
        reason = f"was not looked at, since what was stored last is in {path}-wal"
        findings = [Finding("ok", f"{path}: {reason}; the next start puts it into the file")]
    else:
        logins = logins_of(path)
        findings, newest = _look_inside(path, place, holder, logins or ())
    return Examination(findings=findings, newest=newest, is_served=holder is not None, process=_number(holder), logins=logins)


def _number(process: str | None) -> int | None:
    return int(process) if process is not None and process.isdecimal() else None


def _look_inside(path: str, place: str, holder: str | None, logins: Sequence[str]) -> tuple[list[Finding], int | None]:
    """Findings, and the time of the newest commit."""
    try:
        facts = inspect_file(path)
    except ForeignFile as error:
        return [Finding("wrong", f"{place}: {path}: {error}", "name another, or restore a backup if it was the data of this server")], None
    except ValueError as error:
        return [Finding("wrong", f"{path}: cannot be read ({error})", RESTORE)], None
    doubted = start_problem(path) if holder is None and facts.version else None
    damage, is_all = _damage(path, facts) if holder is None else (None, False)
    findings = [Finding("wrong", doubted)] if doubted is not None else []
    if damage is not None:
        findings.append(Finding("wrong", f"{path}: is damaged ({damage})", RESTORE))
    else:
        findings += _findings_of_content(path, facts, _state(path, holder, doubted, is_all), logins)
    if stat.S_IMODE(os.stat(path).st_mode) & 0o077:
        findings.append(Finding("warning", f"{path}: others may read it, and it has hashes of passwords", f"run: chmod 600 {path}"))
    return findings, facts.newest if damage is None else None


def _findings_of_content(path: str, facts: DataFacts, state: str, logins: Sequence[str]) -> Iterator[Finding]:
    yield schema_finding(path, facts.version, facts.known_version, state)
    if facts.version:
        yield from login_findings(path, logins)


def _damage(path: str, facts: DataFacts) -> tuple[str | None, bool]:
    """What is damaged in words, ``None`` for nothing that was found; and whether all rows were looked at."""
    form = damage_of(path)
    if form is not None or facts.version != facts.known_version:
        # The rows of another schema have other columns.
        return form, not facts.version
    return damaged_rows(path)


def _state(path: str, holder: str | None, doubted: str | None, is_all: bool) -> str:
    if holder is not None:
        return f"the server with process id {holder} works on it"
    rows = "" if is_all else f"; {_UNREAD}"
    if doubted is not None:
        return f"no server works on it now{rows}"
    if os.path.exists(path + MARK):
        return f"no server works on it now; it has all that its mark says{rows}"
    return f"no server works on it now; it is whole without a mark, which the next start makes{rows}"

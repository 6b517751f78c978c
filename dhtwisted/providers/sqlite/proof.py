"""Proves, before a data file is opened for writing, that everything acknowledged is there, or says what is missing.

Nothing is changed here, so that refused data can still be saved: SQLite would merge a damaged log into the file. See
:mod:`~dhtwisted.providers.sqlite.mark` for what is compared.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field

from dhtwisted.errors import ConfigurationError
from dhtwisted.model import ENTITY_KINDS, MESSAGE_KINDS
from dhtwisted.providers.sqlite.data_files import MARK
from dhtwisted.providers.sqlite.database import check_made
from dhtwisted.providers.sqlite.inspection import connect_for_looking, damage_of
from dhtwisted.providers.sqlite.log_walk import damage_of_log
from dhtwisted.providers.sqlite.mark import BATCH, IN_USE, TIME, Marked, read_mark
from dhtwisted.providers.sqlite.row_search import first_damaged_row

LARGE = 64 * 1024**2
"""Bytes. Larger data are searched for damage after the start. SQLite checks so much in about a second."""

LEAP = 1_000_000
"""Added to the numbers if nobody knows how many were assigned."""

_CURE = (
    "first copy the data file, its -wal and its .mark to another place; then put back the one of them that was lost or cut, most often "
    "the -wal, or restore a backup, or start once with --accept-loss to go on without that"
)


@dataclass
class Proof:
    """What is known about a data file before it is opened.

    :ivar floor: name of a counter -> its lowest permitted value.
    :ivar losses: texts of what is missing.
    :ivar crashed: whether the last server on it crashed.
    :ivar is_damaged: whether the undamaged rest must be copied into a new file.
    """

    floor: dict = field(default_factory=dict)
    losses: list = field(default_factory=list)
    crashed: bool = False
    is_damaged: bool = False


def prove(path: str, accepts_loss: bool = False) -> Proof:
    """Prove that everything acknowledged is there. Nobody may use the file meanwhile.

    :param path: of the data file, which may be missing.
    :param accepts_loss: do not raise an error for what is missing, but put it into the proof. Every row is checked then.
    :raises ConfigurationError: something is missing, or nobody can prove that nothing is; one line that says what, and what to do.
    """
    try:
        marked, damage = read_mark(path), None
        counters = _recorded(path)
    except OSError as error:
        raise ConfigurationError(f"cannot use storage file {path}: {error.filename}: {error.strerror}") from error
    except sqlite3.Error as error:
        counters, damage = {}, str(error)
    crashed = bool(counters.pop(IN_USE, 0))
    proof = Proof(crashed=crashed)
    loss = _loss(path, marked, counters, crashed) if damage is None else None
    if loss is not None:
        proof.losses.append(loss)
    if marked is not None:
        proof.floor = marked.given
    elif loss is not None:
        proof.floor = {name: value + LEAP for name, value in counters.items() if name != TIME}
    if damage is None and counters and (accepts_loss or (crashed and size_of(path) < LARGE)):
        damage = damage_of(path, is_over=_never) or (first_damaged_row(path) if accepts_loss else None)
    if damage is not None:
        proof.losses.append(f"is damaged ({damage})")
        proof.is_damaged = True
    if proof.losses and not accepts_loss:
        raise ConfigurationError(f"storage file {path} {proof.losses[0]}; {_CURE}")
    return proof


def start_problem(path: str) -> str | None:
    """Find what would prevent a start on a data file that no server uses. Damage to its structure is not searched.

    :param path: of a file that can be read.
    :returns: one line; ``None`` if there is no problem.
    """
    try:
        counters = _recorded(path)
        loss = _loss(path, read_mark(path), counters, bool(counters.pop(IN_USE, 0)))
        if loss is not None:
            return f"{path} {loss}; {_CURE}"
        with closing(connect_for_looking(path)) as connection:
            check_made(connection, path)
    except (ConfigurationError, OSError) as error:
        return str(error)
    except sqlite3.Error as error:
        return f"{path} is damaged ({error}); {_CURE}"
    return None


def size_of(path: str) -> int:
    """Bytes of a data file and its log."""
    return sum(os.path.getsize(file) for file in (path, f"{path}-wal") if os.path.exists(file))


def shortfall(marked: dict[str, int], counters: dict[str, int]) -> str | None:
    """Say what is missing, in words; ``None`` if nothing is.

    :param marked: name -> number in the mark.
    :param counters: name -> number in the data.
    """
    if all(counters.get(name, 0) >= number for name, number in marked.items()):
        return None
    kinds = [f"{kind}s" for kind in (*MESSAGE_KINDS, *ENTITY_KINDS) if counters.get(kind, 0) < marked.get(kind, 0)]
    ids = [f"{kind} with id {_range(counters.get(kind[:-1], 0) + 1, marked[kind[:-1]])}" for kind in kinds]
    writes = f"all that was changed by the last {_count(marked[BATCH] - counters.get(BATCH, 0))} (inserts, updates and deletions)"
    return ", ".join([*ids, writes]) if counters.get(BATCH, 0) < marked[BATCH] else ", ".join(ids) or "the server's last time"


def _never() -> bool:
    return False


def _range(first: int, last: int) -> str:
    return f"{first} to {last}" if last > first else str(first)


def _count(writes: int) -> str:
    return f"{writes} writes to the disk" if writes > 1 else "write to the disk"


def _loss(path: str, marked: Marked | None, counters: dict[str, int], in_use: bool) -> str | None:
    if marked is not None:
        missing = shortfall(marked.acknowledged, counters)
        return missing and f"lacks what was acknowledged last, as {path}{MARK} shows. Missing are: {missing}"
    damage = damage_of_log(path)
    if damage is not None:
        return f"lacks what was acknowledged last: {damage}"
    if in_use:
        return (
            f"was copied while a server worked on it, or {path}{MARK} was lost, so nobody can tell whether what was acknowledged last is "
            f"there: put {path}{MARK} beside it if you have it"
        )
    return None


def _recorded(path: str) -> dict[str, int]:
    """Read the counters; empty if the data do not exist yet."""
    if not os.path.exists(path) or not os.path.getsize(path):
        return {}
    with closing(connect_for_looking(path)) as connection:
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'counter'").fetchone() is None:
            return {}
        return dict(connection.execute("SELECT name, value FROM counter"))

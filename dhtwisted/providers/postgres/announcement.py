"""Shows which servers use the tables of a database. Each server holds an advisory lock whose number contains its setup.

An advisory lock blocks only those who ask for it. It ends with the connection that took it, however the process ends: at once with kill -9,
and after 25 seconds of keepalives if the machine is gone.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256

from dhtwisted.model import Node
from dhtwisted.providers.postgres.statements import Execute, Statement

_SETUP = """
SELECT set_config('tcp_keepalives_idle', '10', false),
       set_config('tcp_keepalives_interval', '5', false),
       set_config('tcp_keepalives_count', '3', false),
       pg_try_advisory_lock_shared(%s, %s)
"""

_OURS = "locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND objsubid = 2 AND granted"
_LOOK = f"SELECT pid, objid::bigint, pid = pg_backend_pid() FROM pg_locks WHERE {_OURS} AND classid::bigint = %s"
_BE_FIRST = f"""
SELECT CASE WHEN EXISTS (SELECT FROM pg_locks WHERE {_OURS} AND classid::bigint = %s AND pid = pg_backend_pid()) THEN true
    ELSE pg_try_advisory_lock(%s, 0) END
"""


def nodes_statement(store_id: str) -> Statement:
    """What finds all servers: SQL and its values. Its rows are for :func:`nodes_of`."""
    return _LOOK, (_number("nodes", store_id),)


def nodes_of(rows: Iterable[tuple[int, int, bool]]) -> list[Node]:
    """The :class:`~dhtwisted.model.Node` of each row."""
    return [Node(key=number >> 1, has_bus=bool(number & 1)) for _, number, _ in rows]


class Announcement:
    """Announces one server to the others, and finds them.

    :param store_id: of the tables.
    :param node: a :class:`~dhtwisted.model.Node`.
    """

    def __init__(self, store_id: str, node: Node) -> None:
        self._store_id = store_id
        self._node = node
        self._own: set[int] = set()

    async def make(self, execute: Execute) -> None:
        """Announce the server, for as long as the connection is there.

        :param execute: ``async execute(sql, values)`` on the connection.
        """
        await execute(_SETUP, (_number("nodes", self._store_id), self._node.key << 1 | self._node.has_bus))

    async def look_around(self, execute: Execute) -> tuple[bool, list[Node]]:
        """Find the others.

        :param execute: on the same connection.
        :returns: as :meth:`dhtwisted.interfaces.ISharedStorage.look_around`.
        """
        first = _number("first", self._store_id)
        ((is_first,),) = await execute(_BE_FIRST, (first, first))
        rows = await execute(*nodes_statement(self._store_id))
        # A connection of ours that broke is there a little longer. It is known by its process.
        self._own = {process for process, _, is_own in rows if is_own or process in self._own}
        return is_first, nodes_of([row for row in rows if row[0] not in self._own])


def _number(purpose: str, store_id: str) -> int:
    """A name for locks, 31 bits."""
    return int.from_bytes(sha256(f"dhtwisted {purpose} {store_id}".encode()).digest()[:4], "big") >> 1

"""Compares the counters of ids with the tables, so that no id is assigned twice, whatever was done to the database by other means.

A counter may be behind its table if one of the two was restored or edited alone. Deleted rows cannot be seen here.
"""

from __future__ import annotations

from dhtwisted.model import Configuration, DeviceToken, DeviceType, Network, User
from dhtwisted.providers.postgres.entities import ENTITY_TABLES
from dhtwisted.providers.postgres.statements import Execute

_COUNTED = {"command": "commands", "notification": "notifications", "command_update": "command_updates"}
"""Columns of ``message_counter``, and their tables."""

_LAST = ", ".join(f"(SELECT coalesce(max(id), 0) FROM {table}) AS {column}" for column, table in _COUNTED.items())
LIFT_MESSAGES = f"""
UPDATE message_counter SET {", ".join(f"{column} = greatest(known.{column}, last.{column})" for column in _COUNTED)}
FROM message_counter AS known, (SELECT {_LAST}) AS last
WHERE message_counter.only_row AND ({" OR ".join(f"known.{column} < last.{column}" for column in _COUNTED)})
RETURNING {", ".join(f"last.{column} - known.{column}" for column in _COUNTED)}
"""

_ENTITIES = {kind.KIND: ENTITY_TABLES[kind].name for kind in (User, Network, DeviceType, Configuration, DeviceToken)}
_LAST_ENTITIES = " UNION ALL ".join(f"SELECT '{kind}' AS kind, max(id) AS last FROM {name}" for kind, name in _ENTITIES.items())
LIFT_ENTITIES = f"""
UPDATE entity_counter SET last_id = found.last FROM ({_LAST_ENTITIES}) AS found
WHERE entity_counter.kind = found.kind AND entity_counter.last_id < found.last
RETURNING entity_counter.kind
"""


async def lift_counters(run: Execute) -> list[str]:
    """Raise the counters to the highest ids in the tables. Each statement reads only the ends of some indexes.

    :param run: ``async run(sql, values=None)``.
    :returns: the kinds whose counter was behind.
    """
    rows = await run(LIFT_MESSAGES)
    behind = [column for row in rows for column, difference in zip(_COUNTED, row, strict=True) if difference > 0]
    return behind + [kind for (kind,) in await run(LIFT_ENTITIES)]

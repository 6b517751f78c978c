"""What a role must be allowed in a database that has its tables."""

from __future__ import annotations

import re
from collections.abc import Iterable

from dhtwisted.kit.schema_scripts import schema_directory

_LESS = {
    "schema_version": ("SELECT",),
    "store": ("SELECT",),
    "entity_counter": ("SELECT", "UPDATE"),
    "message_counter": ("SELECT", "UPDATE"),
}
_ALL = ("SELECT", "INSERT", "UPDATE", "DELETE")


def _table_names() -> list[str]:
    directory = schema_directory("dhtwisted.providers.postgres")
    scripts = [script.read_text("utf-8") for script in directory.iterdir() if script.name.endswith(".sql")]
    return sorted({"schema_version", *re.findall(r"^CREATE TABLE (\w+)", "\n".join(scripts), re.MULTILINE)})


TABLES = _table_names()
_NEEDED = ", ".join(f"('{table}', '{right}')" for table in TABLES for right in _LESS.get(table, _ALL))

MISSING_RIGHTS = f"""
SELECT name, string_agg(needed, ' and ')
FROM (VALUES {_NEEDED}) AS needs (name, needed)
WHERE to_regclass(name) IS NOT NULL AND NOT has_table_privilege(to_regclass(name), needed)
GROUP BY name ORDER BY name
"""
"""Rows of a table and the rights that are missing there, as text."""

FOREIGN_TABLES = f"""
SELECT name FROM unnest(ARRAY{TABLES}) AS name JOIN pg_class ON pg_class.oid = to_regclass(name)
WHERE NOT pg_has_role(relowner, 'USAGE') ORDER BY name
"""
"""Rows of a table that belongs to a role of which we are no member: it cannot be changed by an upgrade."""


def missing_rights(rows: Iterable[tuple[str, str]]) -> str:
    """Put in words what :data:`MISSING_RIGHTS` has found, and how to mend it."""
    found = ", ".join(f"{rights} on {table}" for table, rights in rows)
    return f"the role may not {found}; GRANT SELECT, INSERT, UPDATE, DELETE ON its tables TO it, or let it own them"

"""The rows of the table, in their order, and the tasks that measure them."""

from bench.rows import ceiling, connections, durable, latency, mix, mqtt, nodes, rest, returning, scenarios, start, stored, throughput, tls

_MODULES = (throughput, latency, durable, nodes, rest, connections, stored, returning, tls, start, mix, scenarios, mqtt, ceiling)
ROWS = tuple(row for module in _MODULES for row in module.ROWS)
TASKS = {task.name: task for module in _MODULES for task in module.TASKS}


def choose(words=()):
    """Find rows by name.

    :param words: keys of rows, or their beginning up to a ``-``; none: all rows.
    :returns: rows in the order of the table.
    :raises ValueError: no row has such a name.
    """
    for word in words:
        if not any(_is_named(row, word) for row in ROWS):
            raise ValueError(f"no row is called {word}; there are {', '.join(row.key for row in ROWS)}")
    return [row for row in ROWS if not words or any(_is_named(row, word) for word in words)]


def tasks_of(rows):
    """The tasks that rows need, each once, in the order in which they are declared: what is compared stands together there."""
    needed = {name for row in rows for name in row.tasks}
    return [task for name, task in TASKS.items() if name in needed]


def _is_named(row, word):
    return row.key == word or row.key.startswith(f"{word}-")

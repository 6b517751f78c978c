"""The same rows against another checkout of this server: is it faster than before?"""

from dataclasses import replace

from bench.figures import Row

BEFORE = "before"
TARGETS = {"replay-memory": (0.5, 0.25), "replay-file": (0.667, 0.333)}
"""Key of a row -> what is to be reached against the commit before replays went in pages."""


def beside_before(rows, tasks, checkout, peers=True):
    """Add the other checkout to what is measured.

    :param rows: those that are wanted, and ``tasks`` the tasks that they need.
    :param checkout: the other :class:`~bench.machine.Checkout`.
    :param peers: whether the given rows themselves stay.
    :returns: rows and tasks; each new one stands behind that which it belongs to.
    """
    mine = {task.name: task for task in tasks}
    seen = set()
    found = []
    for row in rows:
        if peers:
            found.append(row)
        if mine[row.task].ours and (row.task, row.measure) not in seen:
            seen.add((row.task, row.measure))
            found.append(_row_before(row))
    needed = {name for row in found for name in row.tasks}
    both = [one for task in tasks for one in (task, _task_before(task, checkout))]
    return found, [task for task in both if task.name in needed]


def _row_before(row):
    key = f"{_group(row)}-{BEFORE}"
    return Row(key, f"{row.title}, this / other checkout", row.measure, row.task, _name(row.task), *TARGETS.get(row.key, ()))


def _group(row):
    """Its key without the peer, if that is part of it."""
    peer = row.against.split()[-1] if row.against else ""
    return row.key.removesuffix(f"-{peer}")


def _task_before(task, checkout):
    return replace(task, name=_name(task.name), run=lambda bench: task.run(_other(bench, checkout)))


def _other(bench, checkout):
    """The benchmark as tasks of the other checkout see it: always the same, since they leave things for each other."""
    key = f"bench of {checkout.path}"
    if key not in bench.found:
        bench.found[key] = bench.of(checkout)
    return bench.found[key]


def _name(task):
    return f"{task} {BEFORE}"

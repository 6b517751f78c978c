"""How long a server takes from its start until it listens."""

from bench.figures import Row
from bench.plan import Task
from bench.rows.stored import full_directory


def start_new(storage):
    """Make the run of a task: the first start."""

    def run(bench):
        with bench.hive(storage) as server:
            return {"seconds": server.start_seconds}

    return run


def start_full(bench):
    """A start with stored messages."""
    with bench.hive("file:", full_directory(bench)) as server:
        server.stop()
        return {"seconds": server.start_seconds}


TASKS = (
    Task("start memory", start_new("memory:")),
    Task("start file", start_new("file:")),
    Task("start full", start_full),
)

ROWS = (
    Row("start-memory", "from start to listening, memory", "seconds", "start memory", None, 2, 1),
    Row("start-file", "from start to listening, new file", "seconds", "start file", None, 2, 1),
    Row("start-full", "from start to listening, file with messages", "seconds", "start full", None, 2, 1),
)

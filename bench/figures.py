"""From what runs measured to what the table says: medians, ratios, spreads, and whether a target is reached."""

from dataclasses import dataclass
from statistics import median

BEYOND, REACHED, MISSED = "aim", "yes", "no"
"""How a figure compares with its targets: at the aim, at least at the lower target, below both."""


SERVER_CPU = "server cpu"
"""How tasks call the share of a core that the server had."""


class NoFigure(Exception):
    """A run gave no figure; the text says why."""


class Lost(NoFigure):
    """Something was lost, came twice or was refused: whatever the run measured must not be quoted."""

    kind = "LOSS"


class Failed(NoFigure):
    """A run could not be done, or not to its end."""

    kind = "failure"


class Missing(NoFigure):
    """This machine cannot run a side; the text says what to install."""

    kind = "missing"


def _order(problem):
    return [Lost, Failed, Missing].index(type(problem))


class Results:
    """What all runs gave so far, task by task, in the order of rounds."""

    def __init__(self):
        self._outcomes = {}

    def add(self, task, number, outcome):
        """Keep what one run gave.

        :param task: its name.
        :param number: of the round.
        :param outcome: measured values by name, or a :class:`NoFigure`. A value that this machine cannot give is a :class:`Missing`.
        """
        self._outcomes.setdefault(task, {})[number] = outcome

    def is_missing(self, task):
        """Whether it is known that a task cannot run here."""
        return any(isinstance(outcome, Missing) for outcome in self._outcomes.get(task, {}).values())

    def series(self, task, name):
        """What a task measured under a name, by round.

        :raises NoFigure: a run of the task gave none, or it was not run.
        """
        outcomes = self._outcomes.get(task)
        if not outcomes:
            raise Failed("it was not run")
        failures = [outcome for outcome in outcomes.values() if isinstance(outcome, NoFigure)]
        if failures:
            # A loss is the worst of them, and must be seen.
            worst = min(failures, key=_order)
            runs = "" if isinstance(worst, Missing) else f"{worst.kind} in {len(failures)} of {len(outcomes)} runs: "
            raise type(worst)(f"{runs}{worst}")
        values = {number: outcome[name] for number, outcome in outcomes.items()}
        if absent := next((value for value in values.values() if isinstance(value, NoFigure)), None):
            raise absent
        return values

    def measured(self, task):
        """What its runs measured; nothing of those without a figure."""
        return [outcome for outcome in self._outcomes.get(task, {}).values() if not isinstance(outcome, NoFigure)]

    def as_data(self):
        """All of it for JSON."""
        return {task: [_as_data(number, outcome) for number, outcome in outcomes.items()] for task, outcomes in self._outcomes.items()}


def _as_data(number, outcome):
    if isinstance(outcome, NoFigure):
        return {"round": number, outcome.kind: str(outcome)}
    return {"round": number} | {name: str(value) if isinstance(value, NoFigure) else value for name, value in outcome.items()}


UNITS = {
    "inserts": "inserts/s",
    "deliveries": "deliveries/s",
    "requests": "requests/s",
    "requests per core": "requests/CPU-s",
    "inserts per core": "inserts/CPU-s",
    "deliveries per core": "deliveries/CPU-s",
    "opens": "opens/s",
    "p50": "ms",
    "p99": "ms",
    "list": "ms",
    "replay": "ms",
    "seconds": "s",
    "kilobytes": "KB",
    "megabytes": "MB",
    "microseconds": "us",
    "replayed": "us",
    "cpu": "% of a core",
}
"""What tasks measure -> its unit. Of rates more is better, of all else less."""

PEERS = {
    "echo": "Autobahn echo",
    "mosquitto": "Mosquitto QoS 1",
    "mosquitto-0": "Mosquitto QoS 0",
    "idle memory": "dhtwisted, WebSocket",
    "none": "no other filters",
    "clear": "dhtwisted, in clear",
    "web": "bare twisted.web",
    "postgres": "PostgreSQL, prepared INSERT",
    "jetstream": "NATS JetStream, synchronous",
    "pgbench": "pgbench, 1 client",
    "empty": "empty server",
    "one-node": "one node",
    "mix readings": "dhtwisted, readings alone",
    "ask memory": "one replay of 1,000",
    "ask file": "one replay of 1,000",
    "before": "other checkout",
    "memory": "dhtwisted, memory",
}
"""Last word of a task, or all of it -> what it runs on, when something is compared with it."""


@dataclass(frozen=True)
class Row:
    """A line of the table.

    :ivar key: its name on the command line; what stands before the first ``-`` is its group.
    :ivar measure: one of :data:`UNITS`.
    :ivar task: what measures it on this server.
    :ivar against: the task that measures it on the other side; ``None``: there is none, and targets are for the value itself.
    :ivar at_least: the lower target, and ``aim`` the higher; ``None`` for a row without targets.
    """

    key: str
    title: str
    measure: str
    task: str
    against: str | None = None
    at_least: float | None = None
    aim: float | None = None

    @property
    def tasks(self):
        """The tasks that it needs, its own first."""
        return [self.task, *filter(None, [self.against])]

    @property
    def unit(self):
        """Of the value."""
        return UNITS[self.measure]

    @property
    def less(self):
        """Whether less is better."""
        return not self.unit.endswith(("s/s", "s/CPU-s"))

    @property
    def peer(self):
        """What it is compared with; empty without another side."""
        return (PEERS.get(self.against) or PEERS[self.against.split()[-1]]) if self.against else ""


@dataclass(frozen=True)
class Figure:
    """What is known of a row after the run.

    :ivar value: the median over rounds; ``None`` when there is no figure.
    :ivar other: the same of the other side.
    :ivar ratio: the median of the ratios of each round: both sides ran one after the other, and had the same disturbances.
    :ivar low: least of the ratios, or of the values without another side; ``high`` the greatest.
    :ivar by_cpu: the same of rates for each second of processor time of the servers, and of what was timed in their processor time: it
        moves less on a busy machine. ``None`` where that time is not known of both.
    :ivar verdict: :data:`BEYOND`, :data:`REACHED` or :data:`MISSED`; empty without target or figure.
    :ivar problem: why there is no figure; else empty.
    :ivar failed: whether that is a loss or a failure, and not only something that is not installed.
    """

    row: Row
    value: float | None = None
    other: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None
    rounds: int = 0
    by_cpu: float | None = None
    verdict: str = ""
    problem: str = ""
    failed: bool = False

    @property
    def judged(self):
        """What the targets are for: the ratio, or the value of a row without another side."""
        return self.ratio if self.row.against else self.value


def work_out(row, results):
    """Make the figure of a row.

    :returns: a :class:`Figure`; it has no number when a run of either side had a loss.
    """
    try:
        values = results.series(row.task, row.measure)
        others = results.series(row.against, row.measure) if row.against else None
        if others is None:
            return _figure(row, values, None, values)
        return _figure(row, values, others, _divide(values, others), _by_cpu(row, results, values, others))
    except ZeroDivisionError:
        return Figure(row, problem=f"{row.peer} measured nothing", failed=True)
    except NoFigure as problem:
        return Figure(row, problem=str(problem), failed=not isinstance(problem, Missing))


def _divide(values, others):
    return {number: values[number] / others[number] for number in values.keys() & others.keys()}


def _by_cpu(row, results, values, others):
    if row.unit.endswith("CPU-s"):
        return None
    name = f"{row.measure} cpu" if row.less else SERVER_CPU
    if not all(name in outcome for task in row.tasks for outcome in results.measured(task)):
        return None
    sides = [results.series(task, name) for task in row.tasks]
    if not row.less:
        sides = [_divide(values, sides[0]), _divide(others, sides[1])]
    return median(_divide(*sides).values())


def _figure(row, values, others, judged, by_cpu=None):
    """Make a figure of values by round."""
    middle = median(judged.values())
    other, ratio = (median(others.values()), middle) if others else (None, None)
    low, high = min(judged.values()), max(judged.values())
    return Figure(row, median(values.values()), other, ratio, low, high, len(judged), by_cpu, judge(row, middle))


def judge(row, number):
    """Compare with the targets of a row."""
    if row.at_least is None:
        return ""
    sign = -1 if row.less else 1
    if sign * number >= sign * row.aim:
        return BEYOND
    return REACHED if sign * number >= sign * row.at_least else MISSED

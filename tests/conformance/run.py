"""Run the Autobahn test suite against the server's own frame reader; see ``docs/conformance.md``.

The suite's client, ``wstest``, is a program of its own: it needs Python 2, and finds what it tests at a port.
"""

import argparse
import json
import shlex
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.protocol import ProcessProtocol
from twisted.internet.task import react

from dhtwisted.testing import echo_factory

GROUPS = ["1", "2", "3", "4", "5", "6", "7", "9", "10"]
"""12 and 13 are about compression, which the server does not offer."""

AGENT = "dhtwisted"
VERDICTS = ["OK", "NON-STRICT", "INFORMATIONAL"]
"""What passes, by the suite's own words; any other verdict is a failure."""


class Suite(ProcessProtocol):
    """A running ``wstest``; what it prints is passed on.

    :ivar ended: a Deferred; fails unless the program ended by itself and well.
    """

    def __init__(self):
        self.ended = Deferred()

    def outReceived(self, data):
        sys.stderr.buffer.write(data)
        sys.stderr.flush()

    errReceived = outReceived

    def processEnded(self, reason):
        if reason.check(ProcessDone):
            self.ended.callback(None)
        else:
            self.ended.errback(reason)


def specification(port, groups, directory):
    """What ``wstest`` reads."""
    return {
        "outdir": str(directory),
        "servers": [{"agent": AGENT, "url": f"ws://127.0.0.1:{port}/any/path"}],
        "cases": [f"{group}.*" for group in groups],
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }


def verdict(case):
    """One word for a case: the worse one of its behaviour and its close."""
    words = case["behavior"], case["behaviorClose"]
    return max(words, key=lambda word: VERDICTS.index(word) if word in VERDICTS else len(VERDICTS))


def table(results, groups):
    """Lines of a Markdown table: the number of cases of each group by verdict."""
    yield f"| group | cases | {' | '.join(VERDICTS)} | failed |"
    yield "|---|---|---|---|---|---|"
    for group in groups:
        counts = Counter(verdict(case) for name, case in results.items() if name.split(".")[0] == group)
        total = sum(counts.values())
        numbers = [total, *(counts[word] for word in VERDICTS), total - sum(counts[word] for word in VERDICTS)]
        yield f"| {group} | {' | '.join(map(str, numbers))} |"


def report(results, groups):
    """Print what came out.

    :returns: true if every case passed, and every group had cases.
    """
    print("\n".join(table(results, groups)))
    failed = False
    for name, case in results.items():
        word = verdict(case)
        failed |= word not in VERDICTS
        if word != "OK":
            print(f"{name}: behaviour {case['behavior']}, close {case['behaviorClose']} with code {case['remoteCloseCode']}")
    return not failed and {name.split(".")[0] for name in results} == set(groups)


async def run(reactor, options):
    """Serve, run the suite, judge; raises :class:`SystemExit` with 1 when a case failed."""
    listener = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(echo_factory(reactor))
    options.output.mkdir(parents=True, exist_ok=True)
    spec = options.output / "spec.json"
    spec.write_text(json.dumps(specification(listener.getHost().port, options.group, options.output.resolve())))
    suite = Suite()
    command = [*options.wstest, "-m", "fuzzingclient", "-s", str(spec.resolve())]
    reactor.spawnProcess(suite, command[0], command, env=None)
    try:
        await suite.ended
        results = json.loads((options.output / "index.json").read_text())[AGENT]
    except (ProcessTerminated, OSError, ValueError, KeyError) as error:
        raise SystemExit(f"the suite did not run to its end: {error}") from error
    await listener.stopListening()
    if not report(results, options.group):
        raise SystemExit(1)


def parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--wstest", type=shlex.split, default=["wstest"], help="the program of the suite, with arguments if need be")
    parser.add_argument("--group", action="append", choices=GROUPS, help="run this group alone; may be repeated")
    parser.add_argument("--output", type=Path, default=None, help="a directory for the suite's reports")
    options = parser.parse_args(arguments)
    if shutil.which(options.wstest[0]) is None:
        parser.error(f"there is no program {options.wstest[0]}; docs/conformance.md says where to get it")
    options.group = options.group or GROUPS
    options.output = options.output or Path(tempfile.mkdtemp(prefix="conformance-"))
    return options


if __name__ == "__main__":
    options = parse(sys.argv[1:])
    react(lambda reactor: Deferred.fromCoroutine(run(reactor, options)))

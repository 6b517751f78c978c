"""Write ``docs/reference``, or check it: ``.ci/reference --help``."""

import sys
from argparse import ArgumentParser
from collections.abc import Sequence

from tests.support.reference.pages import COMMAND, committed, pages, write


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program.

    :returns: its exit status: 1 if ``--check`` finds a page that is out of date.
    """
    parser = ArgumentParser(
        prog=COMMAND,
        description="Write the pages of docs/reference from the action table, with messages from tests/transcripts.",
        epilog="The meaning of a member stands beside its field in dhtwisted/actions and dhtwisted/wire.",
    )
    parser.add_argument("--check", action="store_true", help="write nothing; list the pages that are out of date; fail if there are any")
    options = parser.parse_args(arguments)
    wanted, there = pages(), committed()
    changed = sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))
    if not options.check:
        write(wanted)
    for name in changed:
        sys.stdout.write(f"docs/reference/{name} {'is out of date' if options.check else 'written' if name in wanted else 'removed'}\n")
    return int(options.check and bool(changed))


if __name__ == "__main__":
    sys.exit(main())

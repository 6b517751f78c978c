"""The command ``devicehive``: it runs a command of the shell, or starts the server in the foreground, as
``twistd --nodaemon --pidfile= devicehive`` does.
"""

from __future__ import annotations

import sys

from twisted.scripts.twistd import run

from dhtwisted.cli.server_options import ServerOptions


def main() -> None:
    """Run a command, or give the arguments to twistd, which parses them again. It does not return with an exit status: see
    :mod:`dhtwisted.service.process`.
    """
    options = ServerOptions()
    options.parseOptions(sys.argv[1:])
    if options.command is not None:
        options.command.run(options)
    sys.argv[1:] = ["--nodaemon", "--pidfile=", "devicehive", *sys.argv[1:]]
    run()

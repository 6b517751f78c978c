"""The command ``devicehive``: the server in the foreground, just as ``twistd --nodaemon --pidfile= devicehive`` runs it; or a command
of the shell, which is no service and does not need twistd.
"""

import sys

from twisted.scripts.twistd import run

from dhtwisted.cli.server_options import Options


def main():
    """Do what a subcommand says, or hand the arguments to twistd, which reads them again. It never returns with a status of its own: see
    :mod:`dhtwisted.service.process`.
    """
    options = Options()
    options.parseOptions(sys.argv[1:])
    if options.subCommand == "doctor":
        from dhtwisted.cli.doctor import examination

        examination.run(options)
    if options.subCommand in ("user", "token"):
        from dhtwisted.cli import users as account_commands

        account_commands.run(options)
    if options.subCommand is not None:
        from dhtwisted.cli import transfer as transfer_commands

        transfer_commands.run(options)
    sys.argv[1:] = ["--nodaemon", "--pidfile=", "devicehive", *sys.argv[1:]]
    run()

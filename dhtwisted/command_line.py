"""The command ``devicehive``: the server in the foreground, just as ``twistd --nodaemon --pidfile= devicehive`` runs it."""

import sys

from twisted.scripts.twistd import run


def main():
    """Hand the arguments to twistd. It never returns with a status of its own: see :mod:`dhtwisted.process`."""
    sys.argv[1:] = ["--nodaemon", "--pidfile=", "devicehive", *sys.argv[1:]]
    run()

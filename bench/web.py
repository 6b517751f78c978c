"""Bare twisted.web, which stands for the least that REST costs: ``python -m bench.web PORT LIST``."""

import sys
from pathlib import Path

from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.server import Site

INSERTED = b'{"id":10000,"timestamp":"2026-01-01T00:00:00.000"}'
"""As long as the answer of this server."""


class Answering(Resource):
    """Reads the body of a POST, and answers it with the same few bytes; answers a GET with the bytes of a list.

    :param listed: those bytes.
    """

    isLeaf = True

    def __init__(self, listed):
        super().__init__()
        self._listed = listed

    def render_POST(self, request):
        """Stand for an insert."""
        request.content.read()
        request.setResponseCode(201)
        return self._answer(request, INSERTED)

    def render_GET(self, request):
        """Stand for a list."""
        return self._answer(request, self._listed)

    def _answer(self, request, body):
        request.setHeader(b"Content-Type", b"application/json")
        return body


class QuietSite(Site):
    """Keeps no access log, since this server keeps none."""

    def log(self, request):
        """Write nothing."""


def main(port, listed):
    """Serve until the process is ended.

    :param listed: a file with what a GET gives.
    """
    reactor.listenTCP(port, QuietSite(Answering(Path(listed).read_bytes())), interface="127.0.0.1")
    reactor.run()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])

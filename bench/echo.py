"""Autobahn's own echo server, as its documentation has it, for comparison: ``python -m bench.echo PORT``."""

import sys

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet import reactor


class EchoProtocol(WebSocketServerProtocol):
    """Sends everything back."""

    def onMessage(self, payload, isBinary):
        """Echo."""
        self.sendMessage(payload, isBinary)


def main(port):
    """Serve until the process is ended."""
    factory = WebSocketServerFactory()
    factory.protocol = EchoProtocol
    reactor.listenTCP(port, factory, interface="127.0.0.1")
    reactor.run()


if __name__ == "__main__":
    main(int(sys.argv[1]))

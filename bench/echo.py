"""Autobahn's own echo server, as its documentation has it, for comparison: ``python -m bench.echo PORT [CERTIFICATE]``."""

import sys

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet import reactor
from twisted.internet.ssl import DefaultOpenSSLContextFactory


class EchoProtocol(WebSocketServerProtocol):
    """Sends everything back."""

    def onMessage(self, payload, isBinary):
        """Echo."""
        self.sendMessage(payload, isBinary)


def main(port, certificate=None):
    """Serve until the process is ended.

    :param certificate: a PEM file with a certificate and its key, for TLS.
    """
    factory = WebSocketServerFactory()
    factory.protocol = EchoProtocol
    if certificate is None:
        reactor.listenTCP(port, factory, interface="127.0.0.1")
    else:
        reactor.listenSSL(port, factory, DefaultOpenSSLContextFactory(certificate, certificate), interface="127.0.0.1")
    reactor.run()


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])

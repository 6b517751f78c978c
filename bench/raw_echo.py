"""The floor: Twisted without a protocol, which sends back what it reads: ``python -m bench.raw_echo PORT``."""

import sys

from twisted.internet import reactor
from twisted.internet.protocol import Factory, Protocol


class RawEcho(Protocol):
    """Sends everything back."""

    def dataReceived(self, data):
        """Echo."""
        self.transport.write(data)


def main(port):
    """Serve until the process is ended."""
    reactor.listenTCP(port, Factory.forProtocol(RawEcho), interface="127.0.0.1")
    reactor.run()


if __name__ == "__main__":
    main(int(sys.argv[1]))

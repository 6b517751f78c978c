"""Ports for servers that a test stops and starts again."""

import random
import socket

_random = random.SystemRandom()
"""Not the generator of the tests, which starts again with each test: test runs at the same time would choose the same ports."""

_PORTS = range(20000, 32000)


def free_port() -> int:
    """Choose a port of 127.0.0.1 on which nobody listens.

    The system does not give such a port to outgoing connections. So it stays free while its server is down, and a client that tries it
    again and again never connects to itself.
    """
    while True:
        port = _random.choice(_PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port

"""Ports for what is stopped and started again in a test."""

import random
import socket

_random = random.SystemRandom()
"""Not the generator of the tests, which begins anew with each: runs beside each other would choose the same."""

_PORTS = range(20000, 32000)


def free_port():
    """Choose a port of 127.0.0.1 at which nobody listens.

    It is none of those that the system gives to outgoing connections: it stays free while its server is down, and a client that tries it
    again and again does not one day connect to itself.
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

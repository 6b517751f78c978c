"""Resolves the servers in a DSN, one by one.

libpq itself would resolve names in the reactor's thread, and would spend the whole time of an attempt on the first server, even if it is
dead.
"""

from __future__ import annotations

import socket
from ipaddress import ip_address

from twisted.internet.interfaces import IReactorThreads
from twisted.internet.threads import deferToThreadPool

from dhtwisted.providers.postgres.statements import Parameters


async def find_targets(reactor: IReactorThreads, parameters: Parameters) -> list[Parameters]:
    """Resolve all names.

    :param parameters: from :func:`dhtwisted.providers.postgres.dsn.parse`.
    :returns: a list of dictionaries of parameters, each for one address; in the order of the DSN.
    :raises OSError: none of the names is known now.
    """
    hosts = parameters.get("host", "").split(",")
    if "hostaddr" in parameters and len(hosts) == 1:
        return [parameters]
    addresses = parameters.get("hostaddr", "").split(",")
    ports = parameters.get("port", "").split(",")
    targets, problem = [], None
    for number, host in enumerate(hosts):
        own = {"host": host, "port": ports[number if len(ports) > 1 else 0]}
        try:
            known = [addresses[number]] if len(addresses) > number and addresses[number] else await _look_up(reactor, host)
        except (OSError, UnicodeError) as error:
            problem = error
            continue
        for address in known:
            own["hostaddr"] = address
            targets.append(parameters | {name: value for name, value in own.items() if value})
    if not targets:
        raise OSError(f"{', '.join(hosts)}: {problem}")
    return targets


async def _look_up(reactor: IReactorThreads, host: str) -> list[str]:
    """Addresses of a host; an empty one for what needs none."""
    if not host or host.startswith(("/", "@")) or _is_address(host):
        return [""]
    found = await deferToThreadPool(reactor, reactor.getThreadPool(), socket.getaddrinfo, host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True

"""When the log says that a proxy should be named, and when not."""

import pytest
import pytest_twisted
from twisted.logger import capturedLogs

from dhtwisted.transports.unnamed_proxies import UnnamedProxies


def seen(*requests):
    """The warnings after requests, each a peer and its ``X-Forwarded-For``, ``None`` for none; as ``(header, value)`` another header."""
    proxies = UnnamedProxies()
    with capturedLogs() as events:
        for peer, header in requests:
            name, value = header if isinstance(header, tuple) else ("x-forwarded-for", header)
            given = {} if value is None else {name.encode(): (value.encode(),)}
            if proxies.is_watching:
                proxies.see(lambda wanted, given=given: given.get(wanted, ()), peer)
    return [event["peers"] for event in events if "trusted_proxies" in event["log_format"]]


@pytest.mark.parametrize(
    ("requests", "peers"),
    [
        ([("127.0.0.1", "192.0.2.1"), ("127.0.0.1", "192.0.2.2"), ("127.0.0.1", "192.0.2.3")], "127.0.0.1"),
        ([("10.0.0.5", "192.0.2.1"), ("127.0.0.1", None), ("10.0.0.5", "192.0.2.2")], "10.0.0.5"),
        ([("10.0.0.5", "192.0.2.1"), ("10.0.0.6", "192.0.2.2")], "10.0.0.5, 10.0.0.6"),
        ([("", "192.0.2.1"), ("", "192.0.2.2")], "unix"),
        ([("10.0.0.5", ("forwarded", "for=192.0.2.1")), ("10.0.0.5", ("forwarded", 'for="[2001:db8::1]"'))], "10.0.0.5"),
    ],
)
def test_a_proxy_that_is_not_named_is_told_of_once(requests, peers):
    assert seen(*requests) == [peers]


@pytest.mark.parametrize(
    "requests",
    [
        [("127.0.0.1", None)] * 5,
        [("127.0.0.1", "192.0.2.1")] * 5,
        [("127.0.0.1", "unknown"), ("127.0.0.1", "127.0.0.1"), ("127.0.0.1", ("forwarded", '"'))],
        # There are clients without a proxy, so that others may make the header up.
        [("198.51.100.1", None), ("203.0.113.7", "192.0.2.1"), ("203.0.113.7", "192.0.2.2")],
        [(f"203.0.113.{n}", "192.0.2.1") for n in range(5)] + [("203.0.113.1", "192.0.2.2")],
    ],
)
def test_no_false_alarm(requests):
    assert seen(*requests) == []


@pytest.mark.parametrize(("trusted", "count"), [((), 1), (("127.0.0.1",), 0)])
@pytest_twisted.ensureDeferred
async def test_both_fronts_are_watched(listen, trusted, count):
    server = await listen(server={"trusted_proxies": trusted})
    with capturedLogs() as events:
        await server.http("GET", "/info", "X-Forwarded-For: 192.0.2.1\r\n")
        await server.websocket(headers="X-Forwarded-For: 192.0.2.2\r\n")
        await server.http("GET", "/info", "X-Forwarded-For: 192.0.2.3\r\n")
    assert sum("trusted_proxies" in event.get("log_format", "") for event in events) == count

"""What proxies say of their clients, and what of it counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dhtwisted.core.addresses import TrustedProxies
from dhtwisted.errors import UnclearForwarding
from dhtwisted.transports.forwarding import Client, forwarded_elements, public_authority, read_client

PROXIES = TrustedProxies(["127.0.0.1", "10.0.0.0/8", "unix"])
STRANGER = "203.0.113.7"


def read(peer="127.0.0.1", proxies=PROXIES, **headers):
    """Who sends a request with these headers: ``x_forwarded_for="..."``, several lines as a list."""
    lines = {name.replace("_", "-").encode(): [value] if isinstance(value, str) else value for name, value in headers.items()}
    return read_client(lambda name: [value.encode("latin-1") for value in lines.get(name, ())], peer, proxies)


def test_without_trust_no_header_counts():
    headers = {"x_forwarded_for": "1.2.3.4", "forwarded": "for=5.6.7.8;proto=https", "x_forwarded_proto": "https"}
    assert read("192.0.2.1", **headers, x_forwarded_host="evil.example", x_forwarded_port="1") == Client("192.0.2.1")
    assert read("", TrustedProxies(["127.0.0.1"]), **headers) == Client("")
    assert read("192.0.2.1", forwarded='for="broken') == Client("192.0.2.1")


@pytest.mark.parametrize(
    ("lines", "address"),
    [
        (STRANGER, STRANGER),
        (f"1.2.3.4, {STRANGER}", STRANGER),
        (["1.2.3.4", STRANGER], STRANGER),
        ([f"1.2.3.4,{STRANGER}", "10.0.0.1"], STRANGER),
        (f"{STRANGER}, 10.0.0.1, 10.0.0.2", STRANGER),
        ("10.0.0.2, 10.0.0.1", "10.0.0.2"),
        (f"{STRANGER}:4711", STRANGER),
        ("2001:db8::1", "2001:db8::1"),
        ("[2001:DB8::1]", "2001:db8::1"),
        ("[2001:db8::1]:4711", "2001:db8::1"),
        ("::ffff:203.0.113.7", STRANGER),
        ("", "127.0.0.1"),
        (" , ", "127.0.0.1"),
        # A proxy that does not say whom it serves is not passed over: what stands before it may be made up.
        ("1.2.3.4, unknown", "127.0.0.1"),
        ("1.2.3.4, unknown, 10.0.0.1", "10.0.0.1"),
        ("1.2.3.4, \xff\x00", "127.0.0.1"),
        ("1.2.3.4, 999.1.1.1", "127.0.0.1"),
    ],
)
def test_x_forwarded_for(lines, address):
    assert read(x_forwarded_for=lines) == Client(address)


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        (f"for={STRANGER}", Client(STRANGER)),
        (f"For={STRANGER};Proto=HTTPS;by=10.0.0.1", Client(STRANGER, "https")),
        ('for="[2001:db8:cafe::17]:4711"', Client("2001:db8:cafe::17")),
        ("for=[2001:db8:cafe::17]:4711", Client("2001:db8:cafe::17")),
        (f'for="{STRANGER}:_port"', Client(STRANGER)),
        (f'for="\\2\\0{STRANGER[2:]}"', Client(STRANGER)),
        (f'for=1.2.3.4;secret="a,b;c", for={STRANGER} ; host="hive.example:8443"', Client(STRANGER, None, "hive.example:8443")),
        (["for=1.2.3.4", f"for={STRANGER};proto=http"], Client(STRANGER, "http")),
        # The element that tells of the client tells by which way it came.
        (f"for=1.2.3.4;proto=http, for={STRANGER};proto=https, for=10.0.0.1;proto=http", Client(STRANGER, "https")),
        ("for=1.2.3.4, for=unknown", Client("127.0.0.1")),
        ("for=1.2.3.4, for=_hidden, for=10.0.0.1", Client("10.0.0.1")),
        ("proto=https", Client("127.0.0.1", "https")),
        (", ,;", Client("127.0.0.1")),
    ],
)
def test_forwarded(lines, client):
    assert read(forwarded=lines) == client


@pytest.mark.parametrize(
    "line",
    [
        # The client leaves a quote open, so that what the proxy appends would vanish in it.
        f'for="1.2.3.4, for={STRANGER}',
        'for=1.2.3.4;x=", for="[2001:db8::1]"',
        'for="1.2.3.4\\", for=5.6.7.8',
        "for=1.2.3.4;for=5.6.7.8",
        "1.2.3.4",
        "for =1.2.3.4",
    ],
)
def test_forwarded_that_cannot_be_read_is_refused(line):
    with pytest.raises(UnclearForwarding):
        read(forwarded=line)


def test_a_header_that_the_proxy_does_not_write_is_the_clients_own():
    """Which of the two the proxy writes cannot be known; both are believed when they say the same."""
    for forwarded in ("for=1.2.3.4", "for=unknown", f"for=1.2.3.4, for={STRANGER};proto=https, for=1.2.3.4"):
        with pytest.raises(UnclearForwarding):
            read(forwarded=forwarded, x_forwarded_for=STRANGER)
    assert read(forwarded=f"for={STRANGER};proto=https", x_forwarded_for=STRANGER) == Client(STRANGER, "https")


@pytest.mark.parametrize("lines", ["https", "HTTPS", "wss", "https, http", ["https", "http"], ["https", "https"], '"https"'])
def test_the_scheme_may_come_twice(lines):
    assert read(x_forwarded_proto=lines).scheme == "https"


@pytest.mark.parametrize(
    ("name", "value"), [("proto", "ftp"), ("host", "a b"), ("host", "a/b"), ("port", "0"), ("port", "65536"), ("port", "x")]
)
def test_what_is_no_scheme_host_or_port_is_passed_over(name, value):
    assert read(**{f"x_forwarded_{name}": value}) == Client("127.0.0.1")


@pytest.mark.parametrize(
    ("client", "host", "secure", "authority"),
    [
        (Client(""), "hive.example:8080", False, ("http", "hive.example:8080")),
        (Client(""), "hive.example", True, ("https", "hive.example")),
        (Client(""), None, False, ("http", "localhost")),
        (Client("", "https"), "hive.example", False, ("https", "hive.example")),
        (Client("", "http"), "hive.example", True, ("http", "hive.example")),
        (Client("", "https", "hive.example", 8443), "inside:8080", False, ("https", "hive.example:8443")),
        (Client("", "https", None, 443), "hive.example", False, ("https", "hive.example")),
        (Client("", "https", None, 443), "hive.example:8443", False, ("https", "hive.example:8443")),
        (Client("", None, None, 8443), "[::1]", True, ("https", "[::1]:8443")),
    ],
)
def test_where_a_client_finds_the_server(client, host, secure, authority):
    assert public_authority(client, host, secure) == authority


addresses = st.ip_addresses().map(str)
tokens = st.text("abcXYZ019!#$%&'*+.^_`|~-", min_size=1, max_size=8)


@given(st.lists(st.text(max_size=30)), addresses.filter(lambda address: not PROXIES.trusts(address)))
def test_whatever_a_client_sends_the_address_that_the_proxy_appends_counts(lines, address):
    """In a line of its own, and in the client's."""
    written = address if "." in address else f"[{address}]"
    encoded = [line.encode("utf-8").decode("latin-1") for line in lines]
    client = read(x_forwarded_for=[*encoded, address])
    assert client == read(x_forwarded_for=", ".join([*encoded, f"{written}:1"]))
    assert client == read(x_forwarded_for=address)


PARTS = ["for=", "proto", "=", '"', ",", ";", "\\", "[", "]", " ", "1.2.3.4", "unknown", "x"]
texts = st.text(st.characters(max_codepoint=255), max_size=40) | st.lists(st.sampled_from(PARTS)).map("".join)


@given(texts, addresses.filter(lambda address: not PROXIES.trusts(address)))
def test_a_client_that_sends_forwarded_is_seen_or_refused(sent, address):
    appended = f'for="[{address}]"' if ":" in address else f"for={address}"
    for lines in ([sent, appended], [f"{sent}, {appended}"]):
        try:
            client = read(forwarded=lines)
        except UnclearForwarding:
            continue
        assert client.address == read(forwarded=appended).address


@given(st.lists(st.dictionaries(tokens.map(str.lower), st.text(st.characters(max_codepoint=255)), min_size=1)))
def test_forwarded_is_read_as_it_was_written(elements):
    def quoted(value):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'

    line = " , ".join(";".join(f"{name.upper()}={quoted(value)}" for name, value in element.items()) for element in elements)
    assert forwarded_elements(line) == elements

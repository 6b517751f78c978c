"""Addresses as limits and logs go by them."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.address import IPv4Address as Peer4
from twisted.internet.address import IPv6Address as Peer6
from twisted.internet.address import UNIXAddress

from dhtwisted.core.addresses import TrustedProxies, limit_key, parse_network, peer_address, plain_address


@pytest.mark.parametrize(
    ("peer", "address"),
    [
        (Peer4("TCP", "192.0.2.1", 1), "192.0.2.1"),
        (Peer6("TCP", "2001:DB8:0::1", 1), "2001:db8::1"),
        (Peer6("TCP", "::ffff:192.0.2.1", 1), "192.0.2.1"),
        (Peer6("TCP", "fe80::1%eth0", 1), "fe80::1"),
        (Peer4("TCP", "not:an address", 1), "not:an address"),
        (UNIXAddress(b"/run/hive"), ""),
        (None, ""),
    ],
)
def test_the_address_of_a_peer(peer, address):
    assert peer_address(peer) == address


def test_an_ipv6_client_has_a_whole_network_and_an_ipv4_client_one_address():
    assert limit_key("2001:db8:0:1::1") == limit_key("2001:db8:0:1:ffff::2") != limit_key("2001:db8:0:2::1")
    assert limit_key("192.0.2.1") != limit_key("192.0.2.2")
    assert limit_key("") == ""
    assert limit_key("no:address") == "no:address"


@given(st.ip_addresses(v=4))
def test_a_mapped_address_is_that_address(address):
    mapped = f"::ffff:{address}"
    assert plain_address(mapped) == str(address)
    assert TrustedProxies([mapped]).trusts(str(address))
    assert parse_network(f"{mapped}/128") == parse_network(str(address))


def test_whom_a_list_trusts():
    proxies = TrustedProxies(["10.0.0.5", "192.168.0.0/16", "2001:db8::/32", "unix"])
    for address in ("10.0.0.5", "192.168.7.7", "2001:db8:ffff::1", ""):
        assert proxies.trusts(address)
    for address in ("10.0.0.6", "192.169.0.1", "2001:db9::1", "localhost", "1"):
        assert not proxies.trusts(address)


def test_nobody_is_trusted_by_default():
    assert not TrustedProxies()
    assert not any(TrustedProxies().trusts(address) for address in ("", "127.0.0.1", "::1"))
    assert not TrustedProxies(["127.0.0.1"]).trusts("")


@given(st.text())
def test_a_text_is_an_address_or_none(text):
    plain = plain_address(text)
    assert plain is None or isinstance(ip_address(plain), (IPv4Address, IPv6Address))

"""Endpoint strings: which are valid, which are unencrypted, and what the errors for others say."""

import pytest

from dhtwisted.config.endpoints import check_endpoint, is_tls, is_unencrypted


@pytest.mark.parametrize(
    "description",
    [
        "tcp:8080",
        "tls:tcp:8443:interface=127.0.0.1",
        "tls:tcp6:8443",
        "unix:/run/devicehive/socket",
        "tls:systemd:domain=INET6:name=devicehive",
        "systemd:domain=INET:index=0",
        "haproxy:tcp:8081",
        "tls:haproxy:tcp:8443:interface=127.0.0.1",
        "haproxy:systemd:domain=INET:index=0",
    ],
)
def test_good_ones(description):
    check_endpoint(description)


@pytest.mark.parametrize(
    ("description", "words"),
    [
        ("tls:tcp:70000", "above 65535"),
        ("tls:", "is not an endpoint"),
        ("tls:8443", "is not an endpoint"),
        ("tls:tls:tcp:1", "TLS twice"),
        ("tls:ssl:1", "TLS twice"),
        ("tls:haproxy:ssl:1", "TLS twice"),
        ("haproxy:tls:tcp:1", "in front of tls:"),
        ("haproxy:haproxy:tcp:1", "haproxy: twice"),
        ("haproxy:tcp:70000", "above 65535"),
        ("systemd:", "domain=INET:name=devicehive"),
        ("systemd:domain=INET", "domain=INET:name=devicehive"),
        ("tcp:", "is not an endpoint"),
        ("tcp:0:interface=a\0b", "cannot be printed"),
        (f"unix:/{'x' * 107}", "a path of more than 107 bytes"),
        ("carrier-pigeon:1", "is not an endpoint"),
    ],
)
def test_bad_ones(description, words):
    with pytest.raises(ValueError, match=words):
        check_endpoint(description)


def test_what_is_unencrypted():
    assert all(is_unencrypted(text) for text in ("tcp:1", "tcp6:1", "systemd:domain=INET:index=0", "haproxy:tcp:1"))
    assert not any(is_unencrypted(text) for text in ("tls:tcp:1", "ssl:1", "unix:/a", "tls:haproxy:tcp:1", "haproxy:unix:/a"))
    assert is_tls("tls:tcp:1")
    assert not is_tls("ssl:1")

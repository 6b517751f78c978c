"""Proxies in front of the server: whether all of them are configured, and nobody else."""

from collections.abc import Sequence

from dhtwisted.cli.doctor.findings import Finding, ok, warning
from dhtwisted.config.endpoints import is_tls, uses_proxy_protocol, without_prefixes
from dhtwisted.config.sources import Configuration
from dhtwisted.core.addresses import UNIX, parse_network

TOPIC = "proxies"
SHARED = "all its clients share the limits of one address"


def check_proxies(configuration: Configuration) -> list[Finding]:
    """Check ``server.trusted_proxies``, and look for signs of a proxy that is not configured."""
    server = configuration.settings.server
    endpoints = [text for text in server.listen if not uses_proxy_protocol(text)]
    findings: list[Finding] = []
    if UNIX not in server.trusted_proxies:
        for text in endpoints:
            if without_prefixes(text).startswith("unix:"):
                reason = "its clients have no address, unless a proxy sends it"
                findings.append(warning(TOPIC, f'{text}: {reason}; name "unix" in server.trusted_proxies, or {SHARED}'))
    if not server.trusted_proxies and _is_encrypted_elsewhere(server.public_url, endpoints):
        reason = "server.public_url has https and no endpoint has TLS, so there is a proxy"
        findings.append(warning(TOPIC, f"{reason}; name it in server.trusted_proxies, or {SHARED}, see docs/proxies.md"))
    for entry in server.trusted_proxies:
        if entry != UNIX and not parse_network(entry).prefixlen:
            reason = "is everybody, who are believed whatever address they make up"
            findings.append(warning(TOPIC, f"server.trusted_proxies: {entry} {reason}; name the proxies alone"))
    if server.trusted_proxies and not findings:
        findings.append(ok(TOPIC, f"{', '.join(server.trusted_proxies)}: what they say of their clients is believed"))
    return findings


def _is_encrypted_elsewhere(url: str, endpoints: Sequence[str]) -> bool:
    has_tls = any(is_tls(text) or without_prefixes(text).startswith("ssl:") for text in endpoints)
    return url.startswith("https:") and bool(endpoints) and not has_tls

"""Certificates, their keys, and the first password: whether they are valid, and who can read them."""

import os
import re
import stat
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from OpenSSL.crypto import X509

from dhtwisted.cli.doctor.findings import Finding, ok, warning, wrong
from dhtwisted.config.endpoints import is_tls
from dhtwisted.config.settings import TlsSettings
from dhtwisted.config.sources import Configuration
from dhtwisted.errors import ConfigurationError
from dhtwisted.providers.opening import data_file
from dhtwisted.service import bootstrap
from dhtwisted.service.tls import make_context, read_certificates

RENEWAL_DAYS = 14
_SSL_ARGUMENT = re.compile(r"(privateKey|certKey)=((?:[^:\\]|\\.)*)")


def check_password_file(configuration: Configuration) -> list[Finding]:
    """Look for the file with the first password."""
    path = data_file("storage", configuration.settings.storage.provider)
    left = Path(os.path.dirname(path), bootstrap.FILE_NAME) if path else None
    if left and left.exists():
        return [warning("password", f"{left}: the administrator's first password is still there; keep it elsewhere, and delete the file")]
    return []


def check_certificates(configuration: Configuration) -> list[Finding]:
    """Check the certificates of ``[tls]``, if an endpoint uses them, and of ``ssl:`` endpoints."""
    settings = configuration.settings
    found: list[Finding] = []
    if any(map(is_tls, (*settings.server.listen, *settings.mqtt.listen))):
        found += _check_pair("tls", settings.tls)
        found += _check_authorities(settings.tls.client_authority)
    elif settings.tls.certificate:
        found.append(
            ok("tls", f"{settings.tls.certificate}: is not used, since no endpoint of server.listen or mqtt.listen begins with tls:")
        )
    for description in (*settings.server.listen, *settings.mqtt.listen):
        if description.startswith("ssl:"):
            files = {name: re.sub(r"\\(.)", r"\1", value) for name, value in _SSL_ARGUMENT.findall(description)}
            key = files.get("privateKey", "server.pem")
            found += _check_pair("ssl endpoint", TlsSettings(certificate=files.get("certKey", key), key=key))
    return found


def _check_pair(topic: str, settings: TlsSettings) -> list[Finding]:
    options = ("tls.certificate", "tls.key") if topic == "tls" else ("certKey", "privateKey")
    try:
        make_context(settings, *options)
        certificates = read_certificates(options[0], settings.certificate)
    except ConfigurationError as error:
        return [wrong(topic, str(error))]
    renewal = "; renew it, and the server takes the new one by itself" if topic == "tls" else "; renew it, and restart the server"
    findings = [_check_time(topic, settings.certificate, certificates, renewal)]
    key = settings.key or settings.certificate
    if stat.S_IMODE(os.stat(key).st_mode) & 0o007:
        findings.append(warning(topic, f"{key}: everybody may read the private key; run: chmod o= {key}"))
    return findings


def _check_authorities(path: str) -> list[Finding]:
    try:
        certificates = read_certificates("tls.client_authority", path) if path else []
    except ConfigurationError:
        return []  # The check of the certificate reports it.
    days = min((_days_left(certificate) for certificate in certificates), default=0)
    return [wrong("tls", f"{path}: an authority of clients has expired; renew it")] if days < 0 else []


def _check_time(topic: str, path: str, certificates: Sequence[X509], renewal: str) -> Finding:
    begin = certificates[0].to_cryptography().not_valid_before_utc
    days = min(map(_days_left, certificates))
    if begin > datetime.now(UTC):
        return wrong(topic, f"{path}: the certificate is not good before {begin:%Y-%m-%d %H:%M} UTC; look whether the clock is right")
    if days < 0:
        return wrong(topic, f"{path}: the certificate has expired{renewal}")
    if days < RENEWAL_DAYS:
        return warning(topic, f"{path}: the certificate expires in {days} days{renewal}")
    return ok(topic, f"{path}: the certificate is good for {days} days, and the key belongs to it")


def _days_left(certificate: X509) -> int:
    return (certificate.to_cryptography().not_valid_after_utc - datetime.now(UTC)).days

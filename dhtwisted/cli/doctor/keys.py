"""What must stay secret, and certificates: there, whole, in time, and out of the reach of others."""

import os
import re
import stat
from datetime import UTC, datetime
from pathlib import Path

from dhtwisted.cli.doctor.findings import ok, warning, wrong
from dhtwisted.config.endpoints import is_tls
from dhtwisted.config.settings import TlsSettings
from dhtwisted.errors import ConfigurationError
from dhtwisted.providers.opening import data_file
from dhtwisted.service import bootstrap
from dhtwisted.service.tls import make_context, read_certificates

RENEWAL_DAYS = 14
_SSL_ARGUMENT = re.compile(r"(privateKey|certKey)=((?:[^:\\]|\\.)*)")


def check_password_file(configuration):
    """Look for what the first start has left."""
    path = data_file("storage", configuration.settings.storage.provider)
    left = path and Path(os.path.dirname(path), bootstrap.FILE_NAME)
    if left and left.exists():
        return [warning("password", f"{left}: the administrator's first password is still there; keep it elsewhere, and delete the file")]
    return []


def check_certificates(configuration):
    """Look at the certificates of ``[tls]``, if an endpoint takes them, and of ``ssl:`` endpoints."""
    settings, found = configuration.settings, []
    if any(map(is_tls, settings.server.listen)):
        found += _check_pair("tls", settings.tls)
        found += _check_authorities(settings.tls.client_authority)
    elif settings.tls.certificate:
        found.append(ok("tls", f"{settings.tls.certificate}: is not used, since no endpoint of server.listen begins with tls:"))
    for description in settings.server.listen:
        if description.startswith("ssl:"):
            files = {name: re.sub(r"\\(.)", r"\1", value) for name, value in _SSL_ARGUMENT.findall(description)}
            key = files.get("privateKey", "server.pem")
            found += _check_pair("ssl endpoint", TlsSettings(certificate=files.get("certKey", key), key=key))
    return found


def _check_pair(topic, settings):
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


def _check_authorities(path):
    try:
        certificates = read_certificates("tls.client_authority", path) if path else []
    except ConfigurationError:
        return []  # It is found with the certificate.
    days = min((_days_left(certificate) for certificate in certificates), default=0)
    return [wrong("tls", f"{path}: an authority of clients has expired; renew it")] if days < 0 else []


def _check_time(topic, path, certificates, renewal):
    begin = certificates[0].to_cryptography().not_valid_before_utc
    days = min(map(_days_left, certificates))
    if begin > datetime.now(UTC):
        return wrong(topic, f"{path}: the certificate is not good before {begin:%Y-%m-%d %H:%M} UTC; look whether the clock is right")
    if days < 0:
        return wrong(topic, f"{path}: the certificate has expired{renewal}")
    if days < RENEWAL_DAYS:
        return warning(topic, f"{path}: the certificate expires in {days} days{renewal}")
    return ok(topic, f"{path}: the certificate is good for {days} days, and the key belongs to it")


def _days_left(certificate):
    return (certificate.to_cryptography().not_valid_after_utc - datetime.now(UTC)).days

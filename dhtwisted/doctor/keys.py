"""What must stay secret, and certificates: there, whole, in time, and out of the reach of others."""

import os
import re
import stat
from datetime import UTC, datetime
from pathlib import Path

from dhtwisted import bootstrap, signing_key
from dhtwisted.config import TlsSettings
from dhtwisted.doctor.data import file_path
from dhtwisted.doctor.findings import ok, warning, wrong
from dhtwisted.errors import ConfigurationError
from dhtwisted.tls import make_context, read_certificates

RENEWAL_DAYS = 14
_SSL_ARGUMENT = re.compile(r"(privateKey|certKey)=((?:[^:\\]|\\.)*)")


class _Place:
    """As much of a storage as a key needs."""

    def __init__(self, specification):
        path = file_path(specification)
        self.state_directory = path and os.path.dirname(path)
        self.durability = "volatile" if specification.startswith("memory:") else "durable"


def check_secret(settings):
    """Look at the signing key."""
    place = _Place(settings.storage.provider)
    given = settings.auth.secret or settings.auth.secret_file
    if not given and place.state_directory is not None and not Path(place.state_directory, signing_key.FILE_NAME).exists():
        return [ok("signing key", f"{Path(place.state_directory, signing_key.FILE_NAME)}: is made at the first start")]
    try:
        key = signing_key.find_key(settings, place)
    except ConfigurationError as error:
        return [wrong("signing key", str(error))]
    if settings.compatibility.allow_weak_secret:
        return [warning("signing key", "compatibility.allow_weak_secret lets tokens be forged; set it to false, with a key of 32 bytes")]
    return [ok("signing key", f"{len(key)} bytes, and nobody else may read it")]


def check_password_file(settings):
    """Look for what the first start has left."""
    path = file_path(settings.storage.provider)
    left = path and Path(os.path.dirname(path), bootstrap.FILE_NAME)
    if left and left.exists():
        return [warning("password", f"{left}: the administrator's first password is still there; keep it elsewhere, and delete the file")]
    return []


def check_configuration_file(settings, path):
    """Look who may read the configuration, if there is something to read."""
    if path is None:
        return []
    holds_secret = settings.auth.admin_password or "password" in settings.storage.provider + settings.storage.messages
    if holds_secret and stat.S_IMODE(os.stat(path).st_mode) & 0o007:
        return [warning("configuration", f"{path}: everybody may read it, and it has a password; run: chmod 640 {path}")]
    return []


def check_certificates(settings):
    """Look at the certificates of ``[tls]`` and of ``ssl:`` endpoints."""
    found = []
    if settings.tls.certificate:
        found += _check_pair("tls", settings.tls)
    for description in settings.server.listen:
        if description.startswith("ssl:"):
            files = {name: re.sub(r"\\(.)", r"\1", value) for name, value in _SSL_ARGUMENT.findall(description)}
            key = files.get("privateKey", "server.pem")
            found += _check_pair("ssl endpoint", TlsSettings(certificate=files.get("certKey", key), key=key))
    return found


def _check_pair(topic, settings):
    try:
        make_context(settings)
        (certificate, *_) = read_certificates(topic, settings.certificate)
    except ConfigurationError as error:
        return [wrong(topic, str(error))]
    left = (certificate.to_cryptography().not_valid_after_utc - datetime.now(UTC)).days
    findings = [_check_time(topic, settings.certificate, left)]
    key = settings.key or settings.certificate
    if stat.S_IMODE(os.stat(key).st_mode) & 0o007:
        findings.append(warning(topic, f"{key}: everybody may read the private key; run: chmod o= {key}"))
    return findings


def _check_time(topic, path, days):
    if days < 0:
        return wrong(topic, f"{path}: the certificate has expired; renew it, and the server takes the new one by itself (tls: endpoints)")
    if days < RENEWAL_DAYS:
        return warning(topic, f"{path}: the certificate expires in {days} days; renew it")
    return ok(topic, f"{path}: the certificate is good for {days} days, and the key belongs to it")

"""Certificates for servers under test."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

PEM = serialization.Encoding.PEM
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


class Authority:
    """Signs certificates.

    :param name: its common name.
    :ivar certificate: the authority's own certificate, in PEM form.
    """

    def __init__(self, name: str = "authority") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named(name)
        self.certificate = _build(self._name, self._name, self._key.public_key(), 1, self._key, is_authority=True)

    def issue(self, name: str = "localhost", days: int = 1) -> tuple[bytes, bytes]:
        """Make a certificate and its key, both in PEM form.

        :param days: how long the certificate is valid from now on; negative: it has expired.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        return _build(_named(name), self._name, key.public_key(), days, self._key), _private(key)


def write_certificate(path: Path, days: int = 1, rsa_bits: int = 0) -> Path:
    """Write a self-signed certificate and its key into one file, mode 0600.

    :param rsa_bits: the length of an RSA key; 0 for an ECDSA key.
    """
    key = rsa.generate_private_key(65537, rsa_bits) if rsa_bits else ec.generate_private_key(ec.SECP256R1())
    path.touch(0o600)
    path.write_bytes(_build(_named("localhost"), _named("localhost"), key.public_key(), days, key) + _private(key))
    return path


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _build(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey | rsa.RSAPublicKey,
    days: int,
    signing_key: PrivateKey,
    is_authority: bool = False,
) -> bytes:
    now = datetime.now(UTC)
    begin, end = sorted((now - timedelta(minutes=5), now + timedelta(days=days)))
    builder = x509.CertificateBuilder(issuer, subject, public_key, x509.random_serial_number(), begin, end)
    if is_authority:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
    return builder.sign(signing_key, hashes.SHA256()).public_bytes(PEM)


def _private(key: PrivateKey) -> bytes:
    return key.private_bytes(PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())

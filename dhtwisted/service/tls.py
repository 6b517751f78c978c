"""The certificate of ``tls:`` endpoints. It can be renewed while the server runs; open connections keep the old one."""

import os
from collections.abc import Callable
from typing import Any

from OpenSSL import SSL, crypto
from twisted.internet import ssl
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IProtocolFactory, ITransport
from twisted.logger import Logger
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory
from zope.interface import implementer

from dhtwisted.config.settings import Settings, TlsSettings
from dhtwisted.errors import ConfigurationError
from dhtwisted.kit.text_files import without_byte_order_mark
from dhtwisted.transports.connection_deadlines import socket_of

LONGEST_HANDSHAKE = 16 * 1024
"""The most bytes that a client may send before the TLS handshake is complete: a greeting of 2 KB and some certificates. OpenSSL would
buffer 128 KiB, and keep them twice."""

READ_AT_ONCE = 16 * 1024
"""Bytes that are read from a socket at once: the longest TLS record. OpenSSL handles each record by itself; 64 KiB of tiny records would be
three thousand in one turn of the reactor."""


class BoundedTls(BufferingTLSTransport):
    """A TLS connection with limits, so that one client cannot use much memory or time."""

    _handshake_bytes = 0

    def makeConnection(self, transport: ITransport) -> None:
        socket_of(transport).bufferSize = READ_AT_ONCE
        super().makeConnection(transport)

    def dataReceived(self, data: bytes) -> None:
        if not self._handshakeDone:
            if self._handshake_bytes > LONGEST_HANDSHAKE:
                self.abortConnection()
                return
            self._handshake_bytes += len(data)
        super().dataReceived(data)


class BoundedTlsFactory(TLSMemoryBIOFactory):
    """Puts TLS in front of another factory."""

    protocol = BoundedTls


@implementer(IOpenSSLServerConnectionCreator)
class Certificates:
    """The certificate that the server shows to its clients, and the authority that signs theirs.

    :raises ConfigurationError: a file cannot be read or has the wrong content, or the key belongs to another certificate.
    """

    log = Logger()

    def __init__(self, settings: TlsSettings) -> None:
        self._settings = settings
        self._file_states = file_states(settings)
        self._context = make_context(settings)

    def wrap(self, factory: IProtocolFactory) -> BoundedTlsFactory:
        """Put TLS in front of a factory."""
        return BoundedTlsFactory(self, False, factory)

    def serverConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        """Make a connection with the present certificate."""
        return SSL.Connection(self._context, None)

    def reloadable(self, settings: Settings) -> Callable[[], None]:
        """See :attr:`~dhtwisted.config.reloading.Reloading.reloadables`. The files are read again even if no option has changed."""
        states = file_states(settings.tls)
        context = make_context(settings.tls)

        def apply() -> None:
            self._settings, self._file_states, self._context = settings.tls, states, context

        return apply

    def reload_if_changed(self) -> None:
        """Read the files again if one has changed. If they cannot be used, that is logged once, and the old certificate stays.

        The self-checks call this every few seconds, so a timer that renews certificates need not send a signal.
        """
        states = file_states(self._settings)
        if states == self._file_states:
            return
        self._file_states = states
        try:
            self._context = make_context(self._settings)
        except ConfigurationError as error:
            self.log.error("The changed certificate cannot be used, the server keeps the old one: {reason}", reason=str(error))
        else:
            self.log.info("The certificate in {path} has changed; new connections use it", path=self._settings.certificate)


def file_states(settings: TlsSettings) -> dict[str, tuple[int, int, int] | None]:
    """The state of each file of the settings, which changes when the file is written or replaced.

    :returns: path -> time, size and inode; ``None`` for a missing file.
    """
    states: dict[str, tuple[int, int, int] | None] = {}
    for path in filter(None, (settings.certificate, settings.key, settings.client_authority)):
        try:
            status = os.stat(path)
        except OSError:
            states[path] = None
        else:
            states[path] = (status.st_mtime_ns, status.st_size, status.st_ino)
    return states


def make_context(settings: TlsSettings, certificate_option: str = "tls.certificate", key_option: str = "tls.key") -> SSL.Context:
    """Read the files. The context allows TLS 1.2 and 1.3 with the ciphers that Twisted recommends, and no renegotiation.

    :param settings: they have a certificate.
    :param certificate_option: the option that names the certificate, for the error.
    :param key_option: the option that names the key.
    :raises ConfigurationError: as for :class:`Certificates`.
    """
    certificate, *chain = read_certificates(certificate_option, settings.certificate)
    key = settings.key or settings.certificate
    options: dict[str, Any] = {}
    if settings.client_authority:
        authorities = read_certificates("tls.client_authority", settings.client_authority)
        options = {"verify": True, "caCerts": authorities, "requireCertificate": settings.client_certificate == "required"}
    try:
        context = ssl.CertificateOptions(
            privateKey=_read_key(key_option, key),
            certificate=certificate,
            extraCertChain=chain,
            insecurelyLowerMinimumTo=ssl.TLSVersion.TLSv1_2,
            **options,
        ).getContext()
        context.check_privatekey()
    except SSL.Error as error:
        raise ConfigurationError(f"{key_option}: {key}: is not the key of {settings.certificate}") from error
    context.set_options(SSL.OP_NO_RENEGOTIATION)
    return context


def read_certificates(option: str, path: str) -> list[crypto.X509]:
    """Read all certificates of a PEM file.

    :param option: the option that names the file, for the error.
    :returns: at least one certificate.
    :raises ConfigurationError: there is none, or one is broken.
    """
    begin, end = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
    parts = _read(option, path).split(begin)[1:]
    try:
        if not parts or any(end not in part for part in parts):
            raise ValueError
        return [crypto.load_certificate(crypto.FILETYPE_PEM, begin + part) for part in parts]
    except (crypto.Error, ValueError) as error:
        raise ConfigurationError(f"{option}: {path}: has no complete certificate in PEM form") from error


def _read_key(option: str, path: str) -> crypto.PKey:
    data = _read(option, path)
    try:
        # If the passphrase were missing, OpenSSL would ask for it at the terminal.
        return crypto.load_privatekey(crypto.FILETYPE_PEM, data, passphrase=b"")
    except (crypto.Error, ValueError, TypeError) as error:
        raise ConfigurationError(f"{option}: {path}: has no complete private key in PEM form without a passphrase") from error


def _read(option: str, path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise ConfigurationError(f"{option}: {path}: cannot be read ({error.strerror})") from error
    try:
        return without_byte_order_mark(data)
    except ValueError as error:
        raise ConfigurationError(f"{option}: {path}: {error}") from error

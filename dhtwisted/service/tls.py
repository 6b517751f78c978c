"""The certificate of ``tls:`` endpoints. It may be renewed while the server runs: connections keep the one that they began with."""

import os

from OpenSSL import SSL, crypto
from twisted.internet import ssl
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.logger import Logger
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory
from zope.interface import implementer

from dhtwisted.errors import ConfigurationError
from dhtwisted.kit.edited_text import without_mark
from dhtwisted.transports.connection_deadlines import socket_of

MOST_OF_HANDSHAKE = 16 * 1024
"""Bytes that a client sends before TLS is there: 2 KB of greeting, and some certificates. OpenSSL would gather 128 KiB, and keep them
twice."""

READ_AT_ONCE = 16 * 1024
"""Bytes that are read from a socket at once, the longest record of TLS. Each record is a step of its own: of 64 KiB of tiny ones there
would be three thousand in one turn."""


class BoundedTls(BufferingTLSTransport):
    """One connection over TLS, which nobody gets much of the memory and the time of others by."""

    _before_handshake = 0

    def makeConnection(self, transport):
        socket_of(transport).bufferSize = READ_AT_ONCE
        super().makeConnection(transport)

    def dataReceived(self, data):
        if not self._handshakeDone:
            if self._before_handshake > MOST_OF_HANDSHAKE:
                self.abortConnection()
                return
            self._before_handshake += len(data)
        super().dataReceived(data)


class BoundedTlsFactory(TLSMemoryBIOFactory):
    """A factory of TLS in front of another."""

    protocol = BoundedTls


@implementer(IOpenSSLServerConnectionCreator)
class Certificates:
    """What a server shows to its clients, and asks of them.

    :param settings: a :class:`~dhtwisted.config.settings.TlsSettings`.
    :raises ConfigurationError: a file cannot be read, or holds something else, or the key belongs to another certificate.
    """

    log = Logger()

    def __init__(self, settings):
        self._settings = settings
        self._seen = file_states(settings)
        self._context = make_context(settings)

    def wrap(self, factory):
        """A factory of TLS in front of another."""
        return BoundedTlsFactory(self, False, factory)

    def serverConnectionForTLS(self, protocol):
        """A connection with the certificate of now."""
        return SSL.Connection(self._context, None)

    def reloadable(self, settings):
        """See :attr:`~dhtwisted.config.reloading.Reloading.reloadables`. The files are read again also when no option was changed."""
        seen = file_states(settings.tls)
        context = make_context(settings.tls)

        def take():
            self._settings, self._seen, self._context = settings.tls, seen, context

        return take

    def look(self):
        """Read the files again if one has changed. What cannot be used is logged once for each change; the old certificate stays.

        Called every few seconds: who renews certificates by a timer need not send a signal.
        """
        seen = file_states(self._settings)
        if seen == self._seen:
            return
        self._seen = seen
        try:
            self._context = make_context(self._settings)
        except ConfigurationError as error:
            self.log.error("The changed certificate is not used, the old one stays: {reason}", reason=str(error))
        else:
            self.log.info("The certificate in {path} has changed, and is used from now on", path=self._settings.certificate)


def file_states(settings):
    """What changes when a file of the settings is written or replaced: path -> time, size and inode, ``None`` for a missing file."""
    states = {}
    for path in filter(None, (settings.certificate, settings.key, settings.client_authority)):
        try:
            status = os.stat(path)
        except OSError:
            states[path] = None
        else:
            states[path] = (status.st_mtime_ns, status.st_size, status.st_ino)
    return states


def make_context(settings, certificate_option="tls.certificate", key_option="tls.key"):
    """Read the files.

    TLS 1.2 and 1.3, with the ciphers that Twisted holds for good. Renegotiation is off.

    :param settings: a :class:`~dhtwisted.config.settings.TlsSettings` with a certificate.
    :param certificate_option: who names the certificate, for the error.
    :param key_option: who names the key.
    :returns: an ``OpenSSL.SSL.Context``.
    :raises ConfigurationError: as for :class:`Certificates`.
    """
    certificate, *chain = read_certificates(certificate_option, settings.certificate)
    key = settings.key or settings.certificate
    options = {}
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


def read_certificates(option, path):
    """All certificates of a PEM file.

    :param option: who names it, for the error.
    :returns: a list of ``OpenSSL.crypto.X509``, at least one.
    :raises ConfigurationError: there are none, or one is broken.
    """
    begin, end = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
    parts = _read(option, path).split(begin)[1:]
    try:
        if not parts or any(end not in part for part in parts):
            raise ValueError
        return [crypto.load_certificate(crypto.FILETYPE_PEM, begin + part) for part in parts]
    except (crypto.Error, ValueError) as error:
        raise ConfigurationError(f"{option}: {path}: holds no whole certificate in PEM form") from error


def _read_key(option, path):
    data = _read(option, path)
    try:
        # Without a passphrase of ours, OpenSSL would ask at the terminal.
        return crypto.load_privatekey(crypto.FILETYPE_PEM, data, passphrase=b"")
    except (crypto.Error, ValueError, TypeError) as error:
        raise ConfigurationError(f"{option}: {path}: holds no whole private key in PEM form without a passphrase") from error


def _read(option, path):
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise ConfigurationError(f"{option}: {path}: cannot be read ({error.strerror})") from error
    try:
        return without_mark(data)
    except ValueError as error:
        raise ConfigurationError(f"{option}: {path}: {error}") from error
